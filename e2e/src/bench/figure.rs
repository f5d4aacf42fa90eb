//! Plain pictures of measurements, as SVG text: rows of dots over one axis of time. It measures nothing.

use std::fmt::Write;

/// Where the axis begins; the names stand left of it.
const LEFT: f64 = 260.0;
/// How long the axis is.
const WIDTH: f64 = 620.0;
/// The height of one row.
const ROW: f64 = 26.0;
/// Where the first row is.
const TOP: f64 = 60.0;
/// How many parts the axis has.
const TICKS: u32 = 5;

/// One row for each name, one dot for each time in milliseconds, a stroke at the median.
///
/// # Panics
/// Never: writing to a text does not fail.
pub fn dots(title: &str, rows: &[(String, Vec<f64>)]) -> String {
    let longest = rows.iter().flat_map(|(_, times)| times).copied();
    let end = round_up(longest.fold(1.0, f64::max));
    let place = |time_ms: f64| LEFT + time_ms / end * WIDTH;
    let height = rows.iter().fold(TOP, |height, _| height + ROW) + 40.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{:.0}\" height=\"{height:.0}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"20\" y=\"28\" font-size=\"16\">{title}</text>\n",
        LEFT + WIDTH + 60.0
    );
    let mut line = |words: String| writeln!(text, "{words}").expect("a text takes everything");
    let bottom = height - 36.0;
    for tick in 0..=TICKS {
        let time_ms = end * f64::from(tick) / f64::from(TICKS);
        let x = place(time_ms);
        line(format!(
            "<line x1=\"{x:.1}\" y1=\"44\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{time_ms:.0} ms</text>",
            bottom + 20.0
        ));
    }
    let mut y = TOP;
    for (name, times) in rows {
        line(format!(
            "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
            LEFT - 12.0,
            y + 4.0
        ));
        for time_ms in times {
            let x = place(*time_ms);
            line(format!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"#1f6feb\" fill-opacity=\"0.45\"/>"
            ));
        }
        if let Some(median) = super::percentile(times, 50) {
            let x = place(median);
            line(format!(
                "<line x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"black\" stroke-width=\"2\"/>",
                y - 9.0,
                y + 9.0
            ));
        }
        y += ROW;
    }
    line("</svg>".to_owned());
    text
}

/// The next 1, 2 or 5 followed by zeros.
fn round_up(value: f64) -> f64 {
    let mut step = 1.0;
    loop {
        for factor in [1.0, 2.0, 5.0] {
            if value <= step * factor {
                return step * factor;
            }
        }
        step *= 10.0;
    }
}

#[cfg(test)]
mod tests {
    use super::{dots, round_up};

    #[test]
    fn the_axis_ends_at_a_round_number() {
        assert!((round_up(1_234.0) - 2_000.0).abs() < f64::EPSILON);
        assert!((round_up(5_000.0) - 5_000.0).abs() < f64::EPSILON);
    }

    #[test]
    fn every_time_is_a_dot() {
        let rows = vec![("killed".to_owned(), vec![10.0, 20.0, 30.0])];
        let picture = dots("times", &rows);
        assert_eq!(picture.matches("<circle").count(), 3);
        assert!(picture.contains("killed"));
    }
}
