//! Columns.

/// How a column is set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a heading, the columns as wide as their widest cell, two spaces between them.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<Align>,
    lines: Vec<Line>,
}

#[derive(Debug)]
enum Line {
    Row(Vec<String>),
    Across(String),
}

impl Table {
    /// A table with a heading.
    pub(crate) fn new(heading: impl IntoIterator<Item = (String, Align)>) -> Self {
        let (titles, columns) = heading.into_iter().unzip();
        Self {
            columns,
            lines: vec![Line::Row(titles)],
        }
    }

    /// Two columns of text, without a heading.
    pub(crate) fn plain() -> Self {
        Self {
            columns: vec![Align::Left; 2],
            lines: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.lines.push(Line::Row(cells));
    }

    /// A line that the columns do not hold for.
    pub(crate) fn across(&mut self, text: String) {
        self.lines.push(Line::Across(text));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The table, each line behind `indent` and ended.
    pub(crate) fn text(&self, indent: &str) -> String {
        let width = |column: usize| {
            let cells = self.lines.iter().filter_map(|line| match line {
                Line::Row(cells) => cells.get(column),
                Line::Across(_) => None,
            });
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for line in &self.lines {
            text.push_str(indent);
            match line {
                Line::Across(across) => text.push_str(across),
                Line::Row(cells) => {
                    for (cell, (align, &width)) in
                        cells.iter().zip(self.columns.iter().zip(&widths))
                    {
                        match align {
                            Align::Left => text.push_str(&format!("{cell:<width$}  ")),
                            Align::Right => text.push_str(&format!("{cell:>width$}  ")),
                        }
                    }
                }
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_without_blanks() {
        let mut table = Table::new([
            ("NAME".to_owned(), Align::Left),
            ("N".to_owned(), Align::Right),
            ("NOTE".to_owned(), Align::Left),
        ]);
        table.row(vec!["é".into(), "7".into(), String::new()]);
        table.across("and much longer ones:".into());
        table.row(vec!["longer".into(), "123".into(), "x".into()]);
        assert_eq!(
            table.text("  "),
            "  NAME      N  NOTE\n  é         7\n  and much longer ones:\n  longer  123  x\n"
        );
    }
}
