//! Columns to lanes: branch-free kernels where a block of a column is plain, else the general path value by value.

use super::lane::Lane;
use super::string::{Html, push_csv_field};
use super::value::{Bound, Style, ValueError, Values};
use super::writer::Separators;
use std::ops::Range;

/// Fills a lane with the cells of some rows of a column.
///
/// # Errors
/// [`ValueError`] if a value has no text.
pub(crate) fn fill(lane: &mut Lane, bound: &Bound<'_>, rows: Range<usize>, separators: Separators, spare: &mut Vec<u8>) -> Result<(), ValueError> {
    general(lane, bound, rows, separators, spare)
}

/// The general path: each value as text, one after the other.
pub(crate) fn general(
    lane: &mut Lane,
    bound: &Bound<'_>,
    rows: Range<usize>,
    separators: Separators,
    spare: &mut Vec<u8>,
) -> Result<(), ValueError> {
    for row in rows {
        let start = lane.text.len();
        match separators {
            Separators::Json => bound.push(&mut lane.text, row, Style::Json(Html::Raw))?,
            Separators::Csv { delimiter } if may_need_quotes(&bound.values, delimiter) => {
                spare.clear();
                bound.push(spare, row, Style::Csv)?;
                push_csv_field(&mut lane.text, spare, delimiter);
            }
            Separators::Csv { .. } => bound.push(&mut lane.text, row, Style::Csv)?,
        }
        lane.starts.push(start);
        lane.lengths.push((lane.text.len() - start) as u32);
    }
    Ok(())
}

/// May the CSV text of such values need quotes? Numbers, dates and their like do not, unless the delimiter is one of their characters.
fn may_need_quotes(values: &Values<'_>, delimiter: u8) -> bool {
    if is_odd(delimiter) {
        return true;
    }
    match values {
        Values::Text(_) | Values::Json(_) | Values::Interval(_) | Values::List(..) | Values::Struct(..) | Values::Map(..) | Values::Dictionary(..) => true,
        Values::Null | Values::Bool(_) | Values::Int(_) | Values::Float(_) | Values::Binary { .. } | Values::FixedBinary(_) => false,
        Values::Date(_) | Values::TimeOfDay(..) | Values::Timestamp(..) | Values::Duration(..) | Values::Decimal(..) => false,
        Values::Uuid(_) | Values::Inet(_) | Values::Mac(_) => false,
    }
}

/// Can the delimiter be a character of a number, a date, an address or base64?
pub(crate) fn is_odd(delimiter: u8) -> bool {
    delimiter.is_ascii_alphanumeric() || b"+-.:/=()".contains(&delimiter)
}
