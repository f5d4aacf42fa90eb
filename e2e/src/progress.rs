//! What a person sees while something takes long: a bar with the time left on a terminal, plain
//! lines elsewhere. It never decides anything.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Where progress is shown; standard error, so that results can be piped.
pub struct Progress {
    bars: MultiProgress,
    terminal: bool,
}

/// One step that is under way.
pub struct Step {
    bar: ProgressBar,
    title: String,
    begun: Instant,
    terminal: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Progress {
    /// Progress on standard error.
    pub fn new() -> Self {
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        Self { bars, terminal }
    }

    /// A step of unknown length.
    ///
    /// # Panics
    /// Never: the template is a constant.
    pub fn step(&self, title: &str) -> Step {
        let style = ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}")
            .expect("the template is a constant");
        self.begin(title, ProgressBar::new_spinner().with_style(style))
    }

    /// A step whose parts can be counted, with the time left.
    ///
    /// # Panics
    /// Never: the template is a constant.
    pub fn counted(&self, title: &str) -> Step {
        let style = ProgressStyle::with_template(
            "{spinner} {prefix} [{bar:30}] {percent}% {msg}, about {eta} left",
        )
        .expect("the template is a constant")
        .progress_chars("=> ");
        self.begin(title, ProgressBar::new(1).with_style(style))
    }

    /// A line that stays.
    pub fn say(&self, text: &str) {
        if self.terminal {
            // A terminal that went away is no reason to stop.
            let _ = self.bars.println(text);
        } else {
            eprintln!("{text}");
        }
    }

    fn begin(&self, title: &str, bar: ProgressBar) -> Step {
        let bar = self.bars.add(bar).with_prefix(title.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        if !self.terminal {
            eprintln!("{title} ...");
        }
        Step {
            bar,
            title: title.to_owned(),
            begun: Instant::now(),
            terminal: self.terminal,
        }
    }
}

impl Step {
    /// What is being done now.
    pub fn set_message(&self, text: &str) {
        self.bar.set_message(text.to_owned());
    }

    /// How many parts there are.
    pub fn set_length(&self, length: u64) {
        self.bar.set_length(length);
    }

    /// So many more are done.
    pub fn inc(&self, parts: u64) {
        self.bar.inc(parts);
    }

    /// The step has ended well.
    pub fn done(&self) {
        let seconds = self.begun.elapsed().as_secs_f64();
        self.bar.finish_and_clear();
        let text = format!("  {} ({seconds:.1} s)", self.title);
        if self.terminal {
            self.bar.suspend(|| eprintln!("{text}"));
        } else {
            eprintln!("{text}");
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
