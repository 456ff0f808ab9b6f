//! `NAME=value` files, as Compose reads them: comments, blank lines, values with or without quotes.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context as _;

/// Variables by name.
pub(crate) type Variables = BTreeMap<String, String>;

/// Reads a file; a missing file has no variables.
pub(crate) fn read(path: &Path) -> anyhow::Result<Variables> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(parse(&text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Variables::new()),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Names of all variables in an example file, including variables that are commented out as `#
/// NAME=value`.
pub(crate) fn names(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(assigned_names(&text))
}

fn assigned_names(text: &str) -> Vec<String> {
    let is_name = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let assignments = text.lines().filter_map(|line| line.trim_start_matches("# ").split_once('='));
    assignments.map(|(name, _)| name.to_owned()).filter(|name| is_name(name)).collect()
}

fn parse(text: &str) -> Variables {
    let assignments = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    assignments
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| {
            (name.trim().trim_start_matches("export ").to_owned(), unquoted(value.trim()).to_owned())
        })
        .collect()
}

fn unquoted(value: &str) -> &str {
    ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote)).unwrap_or(value)
}

/// A line that a POSIX shell reads as this variable, whatever its value.
pub(crate) fn export_line(name: &str, value: &str) -> String {
    format!("export {name}='{}'\n", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::{assigned_names, export_line, parse};

    #[test]
    fn comments_quotes_and_equals_signs() {
        let variables = parse("# A=1\n\nB=2\nC = 'x y'\nURI=\"a?b=c&d=e\"\nEMPTY=\nnonsense\n");
        let pairs: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("B", "2"), ("C", "x y"), ("EMPTY", ""), ("URI", "a?b=c&d=e")]);
    }

    #[test]
    fn names_of_variables_that_are_commented_out_count() {
        let text = "# A setting (a = b), by default c=d.\nA=1\n# B_2=x=y\n";
        assert_eq!(assigned_names(text), ["A", "B_2"]);
    }

    #[test]
    fn a_shell_gets_the_value_back() {
        assert_eq!(export_line("A", "it's $x"), "export A='it'\\''s $x'\n");
    }
}
