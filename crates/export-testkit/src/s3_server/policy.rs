//! IAM policy documents, as far as the services need them.

use serde_json::Value;

/// The allowed actions; everything else is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    statements: Vec<Statement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Statement {
    actions: Vec<String>,
    resources: Vec<String>,
}

impl Policy {
    /// Reads a document. Rejects everything except plain permissions, because partial support would
    /// be misleading.
    pub fn parse(document: &Value) -> Result<Self, String> {
        let statements = document["Statement"].as_array().ok_or("no list of statements")?;
        let statements: Result<_, String> = statements.iter().map(Statement::parse).collect();
        Ok(Self { statements: statements? })
    }

    /// Whether the action on this resource is allowed.
    pub fn allows(&self, action: &str, resource: &str) -> bool {
        let any = |patterns: &[String], text| patterns.iter().any(|pattern| matches(pattern, text));
        self.statements
            .iter()
            .any(|statement| any(&statement.actions, action) && any(&statement.resources, resource))
    }
}

impl Statement {
    fn parse(statement: &Value) -> Result<Self, String> {
        for (name, value) in statement.as_object().ok_or("a statement is no object")? {
            match name.as_str() {
                "Effect" if value == "Allow" => {}
                "Sid" | "Action" | "Resource" => {}
                _ => return Err(format!("{name}: {value} is not known here")),
            }
        }
        Ok(Self { actions: texts(&statement["Action"])?, resources: texts(&statement["Resource"])? })
    }
}

/// One text or a list of them.
fn texts(value: &Value) -> Result<Vec<String>, String> {
    let one = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| format!("{value} is no text"));
    match value {
        Value::Array(values) => values.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
    }
}

/// `*` matches any characters, including none and slashes.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|text| {
            let mut ends = text.char_indices().map(|(index, _)| index).chain([text.len()]);
            ends.any(|index| matches(rest, &text[index..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unlisted_actions_are_denied() {
        let statement =
            json!({ "Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "arn:aws:s3:::b-*/p/*" });
        let policy = Policy::parse(&json!({ "Statement": [statement] })).unwrap();
        assert!(policy.allows("s3:GetObject", "arn:aws:s3:::b-1/p/a/b"));
        assert!(policy.allows("s3:GetObject", "arn:aws:s3:::b-/p/"));
        for (action, resource) in [
            ("s3:PutObject", "arn:aws:s3:::b-1/p/a"),
            ("s3:GetObject", "arn:aws:s3:::b-1/q/a"),
            ("s3:GetObject", "arn:aws:s3:::b-1/p"),
            ("s3:GetObject", "arn:aws:s3:::c/p/a"),
            ("s3:GetObject", "arn:aws:s3:::b-1"),
        ] {
            assert!(!policy.allows(action, resource), "{action} {resource}");
        }
    }

    #[test]
    fn an_unknown_policy_element_is_an_error() {
        let mut statement = json!({ "Effect": "Deny", "Action": "*", "Resource": "*" });
        assert!(Policy::parse(&json!({ "Statement": [statement] })).is_err());
        statement = json!({ "Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {} });
        assert!(Policy::parse(&json!({ "Statement": [statement] })).is_err());
        assert!(Policy::parse(&json!({})).is_err());
    }
}
