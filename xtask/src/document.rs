//! Replaces the parts of Markdown files that commands write.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Puts `text` between the markers of this command (`<!-- bench:begin -->`) in a file, and keeps
/// the rest.
pub(crate) fn replace(path: &Path, command: &str, text: &str) -> Result<()> {
    let document = fs::read_to_string(path)?;
    fs::write(path, replaced(&document, command, text)?)?;
    Ok(())
}

fn replaced(document: &str, command: &str, text: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- {command}:begin -->"), format!("<!-- {command}:end -->"));
    let (before, rest) = document.split_once(&begin).with_context(|| format!("there is no {begin}"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("there is no {end} behind {begin}"))?;
    Ok(format!("{before}{begin}\n\n{}\n\n{end}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let document = "# A\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nend\n";
        let expected = "# A\n<!-- bench:begin -->\n\nnew\n\n<!-- bench:end -->\nend\n";
        assert_eq!(replaced(document, "bench", "new\n").unwrap(), expected);
        assert_eq!(replaced(expected, "bench", "new\n").unwrap(), expected);
        assert!(replaced(document, "chaos", "new").is_err());
    }
}
