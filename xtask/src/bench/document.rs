//! The part of a Markdown file that this command writes.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// Puts `text` between the markers of a file, and leaves the rest as it is.
pub(crate) fn replace(path: &Path, text: &str) -> Result<()> {
    let document = fs::read_to_string(path)?;
    fs::write(path, replaced(&document, text)?)?;
    Ok(())
}

fn replaced(document: &str, text: &str) -> Result<String> {
    let (before, rest) = document.split_once(BEGIN).with_context(|| format!("there is no {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("there is no {END} behind {BEGIN}"))?;
    Ok(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let document = "# A\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nend\n";
        let expected = "# A\n<!-- bench:begin -->\n\nnew\n\n<!-- bench:end -->\nend\n";
        assert_eq!(replaced(document, "new\n").unwrap(), expected);
        assert_eq!(replaced(expected, "new\n").unwrap(), expected);
        assert!(replaced("no markers", "new").is_err());
    }
}
