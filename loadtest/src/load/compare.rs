//! Two stores under the same load by turns, or two reports: which is faster, and how sure that is. Pure but for its caller.

use serde::Serialize;

use super::{random::Random, report::Report};
use crate::seed_tables::median;

/// Resamples of the bootstrap.
const RESAMPLES: usize = 2_000;
/// The largest ratio that is told.
const RATIO_MAX: f64 = 1e6;
/// Rounds from which on an interval says anything: with fewer, equal stores would seem to differ all too often.
const ROUNDS_MIN: usize = 5;
/// Ratios nearer to 1 than this are alike, however sure they are.
const ALIKE: f64 = 0.02;

/// One figure of both sides.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Compared {
    pub(crate) name: String,
    /// Whether more is better.
    pub(crate) more_is_better: bool,
    /// Medians over the rounds.
    pub(crate) a: f64,
    pub(crate) b: f64,
    /// Median of the ratios a/b of rounds that followed each other, and the interval that holds it in 95 of 100 resamples.
    pub(crate) ratio: f64,
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) verdict: Verdict,
}

/// What the ratios show of the first side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// It is better.
    Better,
    /// It is worse.
    Worse,
    /// The interval holds 1, or differs from it by next to nothing.
    NoEvidence,
}

/// A figure of a report, where it has it.
type Figure = (&'static str, bool, fn(&Report) -> Option<f64>);

/// What is compared.
const FIGURES: &[Figure] = &[
    ("highest rate borne", true, |report| report.knee.as_ref()?.highest_borne),
    ("requests per second", true, |report| Some(report.total.per_second)),
    ("MB per second", true, |report| Some(report.total.mb_per_second)),
    ("p50, ms", false, |report| report.total.latency_ms.map(|ms| ms.p50)),
    ("p99, ms", false, |report| report.total.latency_ms.map(|ms| ms.p99)),
    ("p99.9, ms", false, |report| report.total.latency_ms.map(|ms| ms.p999)),
    ("failed requests, %", false, |report| {
        (report.total.started > 0).then(|| report.total.failed as f64 * 100.0 / report.total.started as f64)
    }),
    ("server CPU per request, us", false, |report| report.server_totals.cpu_us_per_operation),
    ("largest server process, MB", false, |report| {
        report.server_totals.largest_rss_bytes.map(|bytes| bytes as f64 / 1e6)
    }),
];

/// Says why two reports can't be compared, if so.
pub(crate) fn differs(a: &Report, b: &Report) -> Vec<String> {
    let mut reasons = Vec::new();
    let mut differ = |what: &str, a: String, b: String| {
        if a != b {
            reasons.push(format!("{what}: {a} and {b}"));
        }
    };
    differ("machines", format!("{:?}", a.machine), format!("{:?}", b.machine));
    differ("seeds", a.seed.to_string(), b.seed.to_string());
    differ("profiles", a.profile.clone(), b.profile.clone());
    differ("loops", loop_name(a), loop_name(b));
    // The trials of a search come as they must.
    let phases = |report: &Report| if report.knee.is_none() { format!("{:?}", report.phases) } else { String::new() };
    differ("phases", phases(a), phases(b));
    reasons
}

fn loop_name(report: &Report) -> String {
    if report.open_loop { "open" } else { "closed" }.to_owned()
}

/// Compares rounds, of which the n-th of both followed each other.
pub(crate) fn compare(rounds: &[(Report, Report)], seed: u64) -> Vec<Compared> {
    let mut random = Random::of(seed, 0xC0);
    let mut all = Vec::new();
    for (name, more_is_better, figure) in FIGURES {
        let pairs: Vec<(f64, f64)> = rounds.iter().filter_map(|(a, b)| Some((figure(a)?, figure(b)?))).collect();
        // Two zeros are alike; something against nothing is without bounds, and JSON has numbers with bounds only.
        let ratio = |(a, b): &(f64, f64)| if a == b { 1.0 } else { (a / b).min(RATIO_MAX) };
        let ratios: Vec<f64> = pairs.iter().map(ratio).collect();
        if ratios.is_empty() || ratios.len() < rounds.len() {
            continue;
        }
        let (from, to) = interval(&ratios, &mut random);
        let ratio = median(ratios);
        let better = if *more_is_better { from > 1.0 + ALIKE } else { to < 1.0 - ALIKE };
        let worse = if *more_is_better { to < 1.0 - ALIKE } else { from > 1.0 + ALIKE };
        let verdict = match (better, worse) {
            _ if rounds.len() < ROUNDS_MIN => Verdict::NoEvidence,
            (true, _) => Verdict::Better,
            (_, true) => Verdict::Worse,
            _ => Verdict::NoEvidence,
        };
        let side = |pick: fn(&(f64, f64)) -> f64| median(pairs.iter().map(pick).collect());
        let (a, b) = (side(|pair| pair.0), side(|pair| pair.1));
        let name = (*name).to_owned();
        all.push(Compared { name, more_is_better: *more_is_better, a, b, ratio, from, to, verdict });
    }
    all
}

/// Gives the interval of the median's bootstrap.
fn interval(ratios: &[f64], random: &mut Random) -> (f64, f64) {
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| median((0..ratios.len()).map(|_| ratios[random.below(ratios.len() as u64) as usize]).collect()))
        .collect();
    medians.sort_by(f64::total_cmp);
    (medians[RESAMPLES / 40], medians[RESAMPLES - 1 - RESAMPLES / 40])
}

/// Writes a comparison as text.
pub(crate) fn render(a: &str, b: &str, rounds: usize, compared: &[Compared]) -> String {
    let mut out =
        format!("A = {a}\nB = {b}\n{rounds} rounds by turns; medians, and the ratio A/B with its 95 % interval\n\n");
    out.push_str(&format!("{:<30}{:>12}{:>12}{:>8}   {:<17}{}\n", "", "A", "B", "A/B", "interval", "A is"));
    for Compared { name, a, b, ratio, from, to, verdict, .. } in compared {
        let verdict = match verdict {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::NoEvidence => "alike, as far as this shows",
        };
        let interval = format!("{from:.2} to {to:.2}");
        out.push_str(&format!("{name:<30}{a:>12.2}{b:>12.2}{ratio:>8.2}   {interval:<17}{verdict}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Verdict, compare, differs, render};
    use crate::load::{report::Report, tests::empty_report};

    fn report(per_second: f64) -> Report {
        let mut report = empty_report();
        report.total.per_second = per_second;
        report
    }

    fn verdict(rounds: &[(f64, f64)]) -> Verdict {
        let rounds: Vec<_> = rounds.iter().map(|(a, b)| (report(*a), report(*b))).collect();
        compare(&rounds, 1)[0].verdict
    }

    #[test]
    fn clear_differences_are_told_and_noise_is_not() {
        assert_eq!(
            verdict(&[(200.0, 100.0), (210.0, 101.0), (190.0, 99.0), (205.0, 102.0), (200.0, 97.0)]),
            Verdict::Better
        );
        assert_eq!(verdict(&[(50.0, 100.0), (52.0, 101.0), (49.0, 99.0), (51.0, 102.0), (50.0, 97.0)]), Verdict::Worse);
        let noise = [(90.0, 100.0), (120.0, 101.0), (80.0, 99.0), (130.0, 102.0), (100.0, 97.0)];
        assert_eq!(verdict(&noise), Verdict::NoEvidence);
        assert_eq!(verdict(&[(200.0, 100.0), (200.0, 100.0)]), Verdict::NoEvidence, "two rounds show nothing");
    }

    #[test]
    fn reports_of_other_machines_or_seeds_differ() {
        let (a, mut b) = (report(1.0), report(2.0));
        assert!(differs(&a, &b).is_empty());
        b.seed = 2;
        b.machine.cpus += 1;
        let reasons = differs(&a, &b).join("; ");
        assert!(reasons.contains("machines: ") && reasons.contains("seeds: 1 and 2"), "{reasons}");
    }

    #[test]
    fn text_has_a_line_for_each_figure() {
        let compared = compare(&[(report(1.0), report(2.0))], 1);
        let text = render("one", "two", 1, &compared);
        assert!(text.contains("A = one") && text.contains("requests per second") && text.contains("0.50"), "{text}");
    }
}
