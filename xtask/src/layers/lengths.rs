//! Files and functions stay short enough to read. Unlike Clippy's `too_many_lines`, this also
//! checks inside macros such as `proptest!`.

use std::fs;

use anyhow::Context as _;

use super::tokens::{Token, tokens};
use super::unused::rust_files;
use super::workspace::Workspace;

/// Most lines of a file.
const MAX_FILE_LINES: usize = 450;
/// Maximum number of lines of a function, from its `fn` to its closing brace.
const MAX_FUNCTION_LINES: usize = 100;

/// One line per file and per function that is too long.
pub(super) fn violations(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let mut violations = Vec::new();
    for package in &workspace.packages {
        for file in rust_files(&package.folder)? {
            let source = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            let relative = file.strip_prefix(&package.folder).unwrap_or(&file).display();
            let place = format!("{}/{relative}", package.name);
            let lines = source.lines().count();
            if lines > MAX_FILE_LINES {
                violations.push(format!("{place} has {lines} lines: at most {MAX_FILE_LINES}"));
            }
            for (name, lines) in functions(&tokens(&source)) {
                if lines > MAX_FUNCTION_LINES {
                    violations
                        .push(format!("{place}: {name} has {lines} lines: at most {MAX_FUNCTION_LINES}"));
                }
            }
        }
    }
    Ok(violations)
}

/// Name and number of lines of every function with a body.
fn functions<'source>(tokens: &[Token<'source>]) -> Vec<(&'source str, usize)> {
    let starts = tokens.windows(2).enumerate().filter(|(_, pair)| pair[0].text == "fn");
    starts
        .filter_map(|(at, pair)| {
            let last = body_end(&tokens[at + 2..])?;
            Some((pair[1].text, last.line - pair[0].line + 1))
        })
        .collect()
}

/// The closing brace of the first braces, unless a `;` outside of brackets comes first.
fn body_end<'source>(tokens: &[Token<'source>]) -> Option<Token<'source>> {
    let mut braces = 0_usize;
    let mut brackets = 0_usize;
    for token in tokens {
        match token.text {
            "{" => braces += 1,
            "}" => {
                braces = braces.checked_sub(1)?;
                if braces == 0 {
                    return Some(*token);
                }
            }
            "(" | "[" => brackets += 1,
            ")" | "]" => brackets = brackets.checked_sub(1)?,
            ";" if braces == 0 && brackets == 0 => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::functions;
    use crate::layers::tokens::tokens;

    #[test]
    fn functions_are_measured_wherever_they_are() {
        let source = "trait T { fn a(x: [u8; 2]); }\nfn b() {\n  if x { y }\n}\nproptest! {\n fn c(\n x in 0..1) {\n }\n}\ntype F = fn(u8) -> u8;";
        assert_eq!(functions(&tokens(source)), [("b", 3), ("c", 3)]);
    }
}
