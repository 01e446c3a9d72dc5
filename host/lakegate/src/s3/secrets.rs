//! The keys that requests are signed with, as far as this client has seen them: no word of a store that repeats one is passed on.

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Texts that are remembered: of the credentials in use, and of some before them.
const MAX_REMEMBERED: usize = 12;
/// A shorter text is part of any sentence.
const LEAST_BYTES: usize = 4;
/// Stands for what is left out.
pub(super) const REDACTED: &str = "[redacted]";

/// Keys and tokens. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Secrets(Arc<Mutex<VecDeque<String>>>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets")
    }
}

impl Secrets {
    /// These are in use from now on.
    pub(super) fn remember(&self, credentials: &Credentials) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let texts = [Some(credentials.access_key_id()), Some(credentials.secret_access_key()), credentials.session_token()];
        for text in texts.into_iter().flatten().filter(|text| text.len() >= LEAST_BYTES) {
            if !known.iter().any(|other| other == text) {
                known.push_front(text.to_owned());
            }
        }
        known.truncate(MAX_REMEMBERED);
    }

    /// The words without them.
    pub(super) fn without(&self, words: &str) -> String {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().fold(words.to_owned(), |words, secret| if words.contains(secret) { words.replace(secret, REDACTED) } else { words })
    }
}

/// A provider whose answers are remembered.
#[derive(Debug)]
pub(super) struct Remembered {
    provider: SharedCredentialsProvider,
    secrets: Secrets,
}

impl Remembered {
    pub(super) fn new(provider: SharedCredentialsProvider, secrets: Secrets) -> Self {
        Self { provider, secrets }
    }
}

impl ProvideCredentials for Remembered {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let credentials = self.provider.provide_credentials().await?;
            self.secrets.remember(&credentials);
            Ok(credentials)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(id: &str, secret: &str, token: Option<&str>) -> Credentials {
        Credentials::new(id, secret, token.map(str::to_owned), None, "test")
    }

    #[test]
    fn what_is_known_is_left_out_wherever_it_stands() {
        let secrets = Secrets::default();
        secrets.remember(&credentials("minio-user", "opsecret+/=", Some("token-1")));
        let said = "<minio-user> signed 'opsecret+/=' (token-1), minio-user";
        assert_eq!(secrets.without(said), "<[redacted]> signed '[redacted]' ([redacted]), [redacted]");
        assert_eq!(secrets.without("nothing"), "nothing");
        // A text of a letter would be everywhere.
        secrets.remember(&credentials("a", "", None));
        assert_eq!(secrets.without("a word"), "a word");
    }

    #[test]
    fn those_before_are_known_too_and_there_is_an_end_to_it() {
        let secrets = Secrets::default();
        for number in 0..100 {
            secrets.remember(&credentials(&format!("key-{number:03}"), &format!("secret-{number:03}"), None));
            secrets.remember(&credentials(&format!("key-{number:03}"), &format!("secret-{number:03}"), None));
        }
        assert_eq!(secrets.without("key-099 secret-098 key-001"), "[redacted] [redacted] key-001");
        assert_eq!(secrets.0.lock().unwrap().len(), MAX_REMEMBERED);
    }
}
