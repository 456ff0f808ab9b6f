//! Credentials in URIs.

/// Percent-encodes a name or password for the authority of a URI.
pub(crate) fn percent_encoded(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Removes the name and password from a URI, for printing.
pub(crate) fn without_credentials(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else { return uri.to_owned() };
    let authority_end = rest.find(['/', '?']).unwrap_or(rest.len());
    match rest[..authority_end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => uri.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{percent_encoded, without_credentials};

    #[test]
    fn reserved_characters_are_encoded() {
        assert_eq!(percent_encoded("a-b_c.d~9"), "a-b_c.d~9");
        assert_eq!(percent_encoded("p@ss/w:rd é"), "p%40ss%2Fw%3Ard%20%C3%A9");
    }

    #[test]
    fn credentials_are_not_printed() {
        assert_eq!(without_credentials("mongodb://root:p%40ss@db:27017/?a=b@c"), "mongodb://db:27017/?a=b@c");
        assert_eq!(without_credentials("amqp://127.0.0.1:5673/%2f"), "amqp://127.0.0.1:5673/%2f");
        assert_eq!(without_credentials("mongodb://u:p@ss@h1,h2"), "mongodb://h1,h2");
    }
}
