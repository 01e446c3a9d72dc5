//! What is wrong with a spec.

/// One thing wrong with a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecProblem {
    /// The field, as a dotted path (`credentials.role_arn`); empty for the spec as a whole.
    pub field: String,
    /// What is wrong and what would be accepted. The reference's text where it has any.
    pub message: String,
}
