//! Recall against time, as a picture.

use std::fmt::Write;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 420.0;
const MARGIN: f64 = 60.0;
const COLORS: [&str; 4] = ["#0b6e4f", "#c8553d", "#3d5a98", "#8a6d1d"];

/// A named line of points: recall, and milliseconds per query.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// An SVG: recall to the right, milliseconds upwards by powers of ten.
pub(crate) fn svg(title: &str, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let least = points().map(|point| point.0).fold(1.0, f64::min).min(0.95);
    let decade = |time: f64| time.max(1e-6).log10();
    let (low, high) = points()
        .map(|point| decade(point.1))
        .fold((f64::MAX, f64::MIN), |(low, high), at| (low.min(at.floor()), high.max(at.ceil())));
    let x = |recall: f64| MARGIN + (recall - least) / (1.0 - least) * (WIDTH - 2.0 * MARGIN);
    let y =
        |time: f64| HEIGHT - MARGIN - (decade(time) - low) / (high - low).max(1.0) * (HEIGHT - 2.0 * MARGIN);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\"><rect width=\"100%\" height=\"100%\" fill=\"white\"/>\
         <text x=\"{MARGIN}\" y=\"28\" font-size=\"15\">{title}</text>\
         <text x=\"{}\" y=\"{}\">recall@10</text><text x=\"8\" y=\"48\">ms per query</text>",
        WIDTH / 2.0,
        HEIGHT - 16.0
    );
    let mut tick = |x1: f64, y1: f64, x2: f64, y2: f64, label: String, at: (f64, f64)| {
        let _ = write!(
            out,
            "<path d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{label}</text>",
            at.0, at.1
        );
    };
    for power in low as i32..=high as i32 {
        let at = y(10_f64.powi(power));
        tick(MARGIN, at, WIDTH - MARGIN, at, format!("{}", 10_f64.powi(power)), (10.0, at + 4.0));
    }
    for step in 0..=5 {
        let recall = least + (1.0 - least) * f64::from(step) / 5.0;
        let at = x(recall);
        tick(at, MARGIN, at, HEIGHT - MARGIN, format!("{recall:.3}"), (at - 14.0, HEIGHT - MARGIN + 18.0));
    }
    for ((number, line), color) in lines.iter().enumerate().zip(COLORS.iter().cycle()) {
        let path: Vec<String> =
            line.points.iter().map(|(recall, time)| format!("{:.1} {:.1}", x(*recall), y(*time))).collect();
        let _ = write!(out, "<path d=\"M{}\" fill=\"none\" stroke=\"{color}\"/>", path.join("L"));
        for (recall, time) in &line.points {
            let _ = write!(
                out,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{color}\"/>",
                x(*recall),
                y(*time)
            );
        }
        let at = 64.0 + 16.0 * number as f64;
        let _ = write!(out, "<text x=\"{}\" y=\"{at}\" fill=\"{color}\">{}</text>", MARGIN + 8.0, line.name);
    }
    out + "</svg>\n"
}
