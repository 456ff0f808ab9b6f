//! User name and password in connection strings.

/// What is expected of a connection string whose user name or password is not encoded.
pub(crate) const ENCODED: &str = "a user name and a password with special characters percent-encoded (`@` is %40, `/` is %2F, `:` is %3A, \
    `%` is %25); a password in the .env of the containers must have none";

/// Whether the user name and the password of a connection string, if it has them, are
/// percent-encoded where they must be.
///
/// A character that is not encoded moves the borders between password, host and path, so that a
/// driver connects elsewhere, or says that the host is wrong.
pub(crate) fn has_encoded_credentials(uri: &str) -> bool {
    let Some((_, rest)) = uri.split_once("://") else { return true };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    // An `@` that comes later follows a password with a `/`; parameters may have one.
    if path.split('?').next().is_some_and(|path| path.contains('@')) {
        return false;
    }
    let Some((credentials, _)) = authority.rsplit_once('@') else { return true };
    credentials.matches(':').count() <= 1
        && !credentials.contains(['@', '?', '#', '[', ']', ' '])
        && credentials.split('%').skip(1).all(starts_with_two_hex_digits)
}

fn starts_with_two_hex_digits(text: &str) -> bool {
    text.len() >= 2 && text.bytes().take(2).all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::has_encoded_credentials;

    #[test]
    fn e3_special_characters_of_passwords_are_encoded() {
        for good in [
            "mongodb://host:27017/?replicaSet=rs0",
            "mongodb://user:p%40ss%2Fw%3Ard%25@a:1,b:2/exports?authSource=admin",
            "mongodb://host/?authMechanismProperties=SERVICE_NAME:a@b",
            "amqp://user@host",
            "amqp://user:pass@[::1]:5672/%2f",
            "http://user:p%c3%a9@host:15672",
        ] {
            assert!(has_encoded_credentials(good), "{good}");
        }
        for bad in [
            "p@ss",
            "p/ss",
            "p:ss",
            "p?ss",
            "p#ss",
            "p%ss",
            "p%",
            "p%4",
            "p ss",
            "p[ss",
            "@",
            "/",
            "a/b@c",
            "p@s/s",
            "p@ss/w:rd",
            "@/",
            "/@",
        ] {
            for scheme in ["mongodb", "amqp", "http"] {
                let uri = format!("{scheme}://user:{bad}@host:1/name");
                assert!(!has_encoded_credentials(&uri), "{uri}");
            }
        }
    }
}
