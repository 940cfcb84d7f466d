//! The plot: a column for each run, and in it a panel for each figure over time.

use std::fmt::Write;

use crate::samples::{Run, Sample};

/// A figure, with a line for each of its series.
struct Panel {
    title: &'static str,
    is_logarithmic: bool,
    series: &'static [(&'static str, Value)],
}

/// Returns the value of a sample.
type Value = fn(&Sample) -> f64;

const PANELS: [Panel; 5] = [
    Panel {
        title: "throughput, MB/s",
        is_logarithmic: false,
        series: &[("", Sample::megabytes_per_second)],
    },
    Panel {
        title: "latency of a message, µs",
        is_logarithmic: true,
        series: &[
            ("p50", |sample| sample.latencies.percentile(0.5)),
            ("p99", |sample| sample.latencies.percentile(0.99)),
            ("p99.9", |sample| sample.latencies.percentile(0.999)),
        ],
    },
    Panel {
        title: "descriptors",
        is_logarithmic: false,
        series: &[("", |sample| sample.descriptors as f64)],
    },
    Panel {
        title: "resident memory, MiB",
        is_logarithmic: false,
        series: &[("", |sample| sample.memory as f64 / (1 << 20) as f64)],
    },
    Panel {
        title: "CPU time, % of a core",
        is_logarithmic: false,
        series: &[("", Sample::cpu_percent)],
    },
];

const COLORS: [&str; 3] = ["#1c7ed6", "#f08c00", "#d6336c"];
const LEFT: f64 = 60.0;
const WIDTH: f64 = 400.0;
const GAP: f64 = 50.0;
const TOP: f64 = 40.0;
const HEIGHT: f64 = 90.0;
const ROW: f64 = 130.0;

/// Draws all runs. The panels of a row have the same scale.
pub(crate) fn svg(runs: &[Run]) -> String {
    let mut body = String::new();
    for (column, run) in runs.iter().enumerate() {
        let name = if run.threads == 1 { "1 thread" } else { &format!("{} threads", run.threads) };
        text(&mut body, x(column, 0.5), 16.0, "middle", name);
    }
    for (row, panel) in PANELS.iter().enumerate() {
        let top = TOP + ROW * row as f64;
        let (low, high) = range(panel, runs);
        // The part of the panel's height at which a value lies.
        let part = |value: f64| match panel.is_logarithmic {
            true => (value / low).log10() / (high / low).log10(),
            false => value / high,
        };
        let y = |value: f64| top + HEIGHT * (1.0 - part(value).clamp(0.0, 1.0));
        text(&mut body, LEFT, top - 6.0, "start", panel.title);
        for tick in ticks(panel, low, high) {
            text(&mut body, LEFT - 6.0, y(tick) + 4.0, "end", &tick.to_string());
        }
        for (column, run) in runs.iter().enumerate() {
            for tick in ticks(panel, low, high) {
                let (left, y) = (x(column, 0.0), y(tick));
                writeln!(body, "<path d='M{left} {y:.1}h{WIDTH}' stroke='#e9ecef'/>")
                    .expect("a string");
            }
            let length = run.samples.last().map_or(1.0, |sample| sample.end.as_secs_f64());
            for ((name, value), color) in panel.series.iter().zip(COLORS) {
                let points = run.samples.iter().map(|sample| {
                    let x = x(column, sample.end.as_secs_f64() / length);
                    format!("{x:.1},{:.1}", y(value(sample)))
                });
                let points: Vec<String> = points.collect();
                let points = points.join(" ");
                writeln!(
                    body,
                    "<polyline points='{points}' fill='none' stroke='{color}' stroke-width='1.5'/>"
                )
                .expect("a string");
                if let (Some(last), 0) = (run.samples.last(), column) {
                    text(&mut body, x(0, 1.0) + 3.0, y(value(last)) + 4.0, "start", name);
                }
            }
            if row + 1 == PANELS.len() {
                for part in [0.0, 0.5, 1.0] {
                    let seconds = length * part;
                    let time = match length < 120.0 {
                        true => format!("{seconds:.0} s"),
                        false => format!("{:.0} min", seconds / 60.0),
                    };
                    text(&mut body, x(column, part), top + HEIGHT + 18.0, "middle", &time);
                }
            }
        }
    }
    let width = LEFT + (WIDTH + GAP) * runs.len() as f64;
    let height = TOP + ROW * PANELS.len() as f64;
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}' \
         font-family='sans-serif' font-size='11'>\n<title>echod under a mixed load over \
         time</title>\n<rect width='{width}' height='{height}' fill='white'/>\n{body}</svg>\n"
    )
}

/// Returns the horizontal position of a part of a column's width.
fn x(column: usize, part: f64) -> f64 {
    LEFT + (WIDTH + GAP) * column as f64 + WIDTH * part
}

/// Returns the ends of a panel's scale.
fn range(panel: &Panel, runs: &[Run]) -> (f64, f64) {
    let samples = || runs.iter().flat_map(|run| &run.samples);
    let values = || panel.series.iter().flat_map(|(_, value)| samples().map(value));
    let high = values().fold(1.0, f64::max);
    let low = values().fold(high, f64::min);
    match panel.is_logarithmic {
        true => (10f64.powf(low.log10().floor()), 10f64.powf(high.log10().ceil())),
        false => (0.0, round_up(high)),
    }
}

/// Rounds up to the next number that has one digit of 1, 2 or 5.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let digit = [1.0, 2.0, 5.0, 10.0].into_iter().find(|digit| digit * power >= value);
    digit.unwrap_or(10.0) * power
}

fn ticks(panel: &Panel, low: f64, high: f64) -> Vec<f64> {
    if !panel.is_logarithmic {
        return vec![0.0, high / 2.0, high];
    }
    let powers = (0..12).map(|power| low * 10f64.powi(power));
    powers.take_while(|power| *power <= high * 1.01).collect()
}

fn text(body: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    writeln!(body, "<text x='{x:.1}' y='{y:.1}' text-anchor='{anchor}'>{text}</text>")
        .expect("a string");
}
