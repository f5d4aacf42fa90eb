//! Where documents go: text, JSON or YAML to one writer, and what is known of the terminal behind it.

use std::io::{IsTerminal, Stdout, Write};

use jiff::Timestamp;
use serde::Serialize;

use crate::cli::Format;
use crate::error::Result;
use crate::render::Show;

/// Writes documents in one format.
pub struct Output<W> {
    format: Format,
    terminal: bool,
    writer: W,
}

impl Output<Stdout> {
    /// Standard output.
    #[must_use]
    pub fn standard(format: Format) -> Self {
        let writer = std::io::stdout();
        Self {
            format,
            terminal: writer.is_terminal(),
            writer,
        }
    }
}

impl<W: Write> Output<W> {
    /// A writer that is no terminal.
    pub fn to(format: Format, writer: W) -> Self {
        Self {
            format,
            terminal: false,
            writer,
        }
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Columns and rows of the terminal; none: it is none.
    pub fn size(&self) -> Option<(usize, usize)> {
        if !self.terminal || self.format != Format::Text {
            return None;
        }
        let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
        let (columns, rows) = (usize::from(size.ws_col), usize::from(size.ws_row));
        (columns > 0 && rows > 0).then_some((columns, rows))
    }

    /// Writes one document.
    pub fn document<D: Serialize + Show>(&mut self, document: &D) -> Result<()> {
        let text = match self.format {
            Format::Text => document.show(Timestamp::now()),
            Format::Json => serde_json::to_string_pretty(document)? + "\n",
            Format::Yaml => serde_yaml::to_string(document)?,
        };
        self.write(&text)
    }

    /// Writes one of many documents: JSON in one line, YAML after a line of dashes.
    pub fn line<D: Serialize>(&mut self, document: &D) -> Result<()> {
        let text = match self.format {
            Format::Yaml => format!("---\n{}", serde_yaml::to_string(document)?),
            Format::Json | Format::Text => serde_json::to_string(document)? + "\n",
        };
        self.write(&text)
    }

    /// Writes a text as it is.
    pub fn write(&mut self, text: &str) -> Result<()> {
        self.writer.write_all(text.as_bytes())?;
        Ok(self.writer.flush()?)
    }
}
