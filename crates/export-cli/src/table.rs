//! Tables with aligned columns.

/// Rows that are printed in batches under one head. Columns are at least as wide as in the batches
/// before.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    widths: Vec<usize>,
    is_begun: bool,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        let head: Vec<String> = head.iter().map(|name| (*name).to_owned()).collect();
        Self { widths: vec![0; head.len()], rows: vec![head], is_begun: false }
    }

    pub(crate) fn add(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// Whether no row has been printed.
    pub(crate) fn is_empty(&self) -> bool {
        !self.is_begun
    }

    /// The lines of the rows that were added since the last call. The head comes with the first
    /// row.
    pub(crate) fn lines(&mut self) -> Vec<String> {
        if !self.is_begun && self.rows.len() < 2 {
            return Vec::new();
        }
        self.is_begun = true;
        let rows = std::mem::take(&mut self.rows);
        for row in &rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        rows.iter().map(|row| self.line(row)).collect()
    }

    fn line(&self, row: &[String]) -> String {
        let cells = row.iter().zip(&self.widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["NAME", "SIZE"]);
        assert!(table.lines().is_empty() && table.is_empty());
        table.add(vec!["Büssing".to_owned(), "1".to_owned()]);
        table.add(vec!["a".to_owned(), String::new()]);
        assert_eq!(table.lines(), ["NAME     SIZE", "Büssing  1", "a"]);
        assert!(table.lines().is_empty() && !table.is_empty());
    }
}
