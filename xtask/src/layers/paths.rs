//! The modules and paths in one file: its child modules, the names it defines and imports, and the
//! paths it mentions.

use super::tokens::{Token, tokens};

/// The modules and paths in a file, without its test code.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct FileFacts {
    /// `mod name;`, with the file of a `#[path]` attribute left out: no file here has one.
    pub(super) children: Vec<String>,
    /// Names of types, functions, constants and macros defined here.
    pub(super) defined: Vec<String>,
    /// Names that `use` brings into this module, with the path each stands for.
    pub(super) imported: Vec<(String, Vec<String>)>,
    /// Paths of `use …::*`.
    pub(super) globs: Vec<Vec<String>>,
    /// Every path that starts with `crate`, `self` or `super`, in a `use` or elsewhere.
    pub(super) mentioned: Vec<Vec<String>>,
}

/// Keywords that are followed by the name they define.
const DEFINING: [&str; 9] =
    ["struct", "enum", "trait", "fn", "type", "const", "static", "union", "macro_rules"];

/// Reads a file.
pub(super) fn facts(source: &str) -> FileFacts {
    let tokens = without_tests(&tokens(source));
    let mut facts = FileFacts::default();
    // Inline modules that are open: at which brace depth each began.
    let mut inline = Vec::new();
    let mut depth = 0_usize;
    let mut at = 0;
    while at < tokens.len() {
        let next = |ahead: usize| tokens.get(at + ahead).map_or("", |token| token.text);
        match tokens[at].text {
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                inline.pop_if(|began| *began == depth);
            }
            "mod" if next(2) == ";" => facts.children.push(next(1).to_owned()),
            "mod" if next(2) == "{" => inline.push(depth),
            "use" => {
                at += use_declaration(&tokens[at + 1..], inline.len(), &mut facts);
            }
            keyword if DEFINING.contains(&keyword) => {
                let ahead = if next(1) == "!" { 2 } else { 1 };
                facts.defined.push(next(ahead).to_owned());
            }
            "crate" | "self" | "super" if next(1) == "::" && (at == 0 || tokens[at - 1].text != "::") => {
                let path = plain_path(&tokens[at..]);
                at += 2 * path.len() - 2;
                facts.mentioned.extend(of_file(path, inline.len()));
            }
            _ => {}
        }
        at += 1;
    }
    facts
}

/// `a::b::c` at the start.
fn plain_path(tokens: &[Token<'_>]) -> Vec<String> {
    let mut path = vec![tokens[0].text.to_owned()];
    for pair in tokens[1..].chunks_exact(2) {
        if pair[0].text != "::" || !is_name(pair[1].text) {
            break;
        }
        path.push(pair[1].text.to_owned());
    }
    path
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// A path as the file's own module would write it: inside an inline module, `super` leads to the
/// file. `None` if the path does not leave the file.
fn of_file(mut path: Vec<String>, inline_depth: usize) -> Option<Vec<String>> {
    for _ in 0..inline_depth {
        match path.first().map(String::as_str) {
            Some("super") => {
                path.remove(0);
            }
            Some("crate") => break,
            _ => return None,
        }
    }
    let is_rooted = matches!(path.first().map(String::as_str), Some("crate" | "super"));
    if inline_depth > 0 && !is_rooted {
        path.insert(0, "self".to_owned());
    }
    Some(path)
}

/// Reads the tree after `use` up to its `;`; returns the number of tokens read.
fn use_declaration(tokens: &[Token<'_>], inline_depth: usize, facts: &mut FileFacts) -> usize {
    let length = tokens.iter().position(|token| token.text == ";").unwrap_or(tokens.len());
    let mut leaves = Vec::new();
    use_tree(&tokens[..length], &[], &mut leaves);
    for (path, alias) in leaves {
        let starts_inside = matches!(path.first().map(String::as_str), Some("crate" | "self" | "super"));
        let is_glob = path.last().is_some_and(|last| last == "*");
        let Some(mut path) = of_file(path, inline_depth) else { continue };
        if is_glob {
            path.pop();
        }
        if starts_inside {
            facts.mentioned.push(path.clone());
        }
        if inline_depth > 0 {
            continue;
        }
        if is_glob {
            facts.globs.push(path);
        } else if let Some(name) = alias.or_else(|| path.last().cloned()) {
            facts.imported.push((name, path));
        }
    }
    length
}

type Leaf = (Vec<String>, Option<String>);

/// Adds the leaves of a use tree: `a::{self, b as c, d::*}` has three. Returns the number of tokens
/// read.
fn use_tree(tokens: &[Token<'_>], prefix: &[String], leaves: &mut Vec<Leaf>) -> usize {
    let mut path = prefix.to_vec();
    let mut alias = None;
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token.text {
            "::" => {}
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at += use_tree(&tokens[at..], &path, leaves);
                    if tokens.get(at).is_some_and(|token| token.text == ",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "," | "}" => break,
            "as" => {
                at += 1;
                alias = tokens.get(at).map(|token| token.text.to_owned());
            }
            "self" if !path.is_empty() => {}
            text => path.push(text.to_owned()),
        }
        at += 1;
    }
    if !path.is_empty() {
        leaves.push((path, alias));
    }
    at
}

/// Leaves out every item after `#[cfg(test)]`: tests may import anything.
fn without_tests<'source>(tokens: &[Token<'source>]) -> Vec<Token<'source>> {
    const ATTRIBUTE: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        let is_test = tokens.len() - at >= ATTRIBUTE.len()
            && ATTRIBUTE.iter().zip(&tokens[at..]).all(|(wanted, token)| *wanted == token.text);
        if is_test {
            at += ATTRIBUTE.len() + item_length(&tokens[at + ATTRIBUTE.len()..]);
        } else {
            kept.push(tokens[at]);
            at += 1;
        }
    }
    kept
}

/// Tokens of an item: up to its `;`, or to the end of its braces.
fn item_length(tokens: &[Token<'_>]) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && token.text == "}" {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

#[cfg(test)]
mod tests {
    use super::facts;

    fn joined(paths: &[Vec<String>]) -> Vec<String> {
        paths.iter().map(|path| path.join("::")).collect()
    }

    #[test]
    fn every_leaf_of_a_use_tree_is_mentioned() {
        let facts = facts("use crate::a::{self, b::{C, d::*}, E as F};\nuse super::G;\nuse std::fs;");
        assert_eq!(
            joined(&facts.mentioned),
            ["crate::a", "crate::a::b::C", "crate::a::b::d", "crate::a::E", "super::G"]
        );
        let names: Vec<&str> = facts.imported.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "C", "F", "G", "fs"]);
        assert_eq!(joined(&facts.globs), ["crate::a::b::d"]);
    }

    #[test]
    fn paths_in_expressions_count_too() {
        let facts = facts("fn f(x: &crate::a::B) { super::super::c::d(x); self::e(); std::self_(); }");
        assert_eq!(joined(&facts.mentioned), ["crate::a::B", "super::super::c::d", "self::e"]);
        assert_eq!(facts.defined, ["f"]);
    }

    #[test]
    fn visibility_is_no_path() {
        assert_eq!(facts("pub(super) struct A;\npub(crate) fn b() {}").mentioned, Vec::<Vec<String>>::new());
    }

    #[test]
    fn tests_are_left_out() {
        let source =
            "mod a;\n#[cfg(test)]\nmod b;\n#[cfg(test)]\nmod tests { use crate::c; fn f() {} }\nmod d;";
        let facts = facts(source);
        assert_eq!(facts.children, ["a", "d"]);
        assert_eq!(facts.mentioned, Vec::<Vec<String>>::new());
    }

    #[test]
    fn an_inline_module_is_part_of_its_file() {
        let facts = facts("mod a { use super::b; use super::super::c; use crate::d; } use super::e;");
        assert_eq!(joined(&facts.mentioned), ["self::b", "super::c", "crate::d", "super::e"]);
    }
}
