//! A report as JUnit XML, for CI systems: one test case for each thing that decides the exit code.

use quick_junit::{NonSuccessKind, Report as Document, TestCase, TestCaseStatus, TestSuite};

use super::report::Report;

/// Writes a report as XML.
pub(super) fn xml(report: &Report) -> String {
    let mut suite = TestSuite::new(format!("loadtest {}", report.profile));
    let mut case = |name: &str, wrong: Option<String>| {
        let status = wrong.map_or_else(TestCaseStatus::success, |why| {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(why);
            status
        });
        let mut case = TestCase::new(name, status);
        case.set_classname(format!("loadtest.{}", report.profile));
        suite.add_test_case(case);
    };
    let found = |count: u64, what: &str| (count > 0).then(|| format!("{count} files are {what}"));
    case("nothing is lost", found(report.lost, "lost"));
    case("nothing is corrupt", found(report.corrupt, "corrupt"));
    case("everything was read back", found(report.unreadable, "unreadable"));
    case("something succeeded", (report.total.ok == 0).then(|| "no request succeeded".to_owned()));
    case("the run is valid", (!report.valid).then(|| report.invalid_because.join("; ")));
    case("the run is whole", report.interrupted.then(|| "it was interrupted".to_owned()));
    if let Some(knee) = &report.knee {
        case("a rate is borne", knee.highest_borne.is_none().then(|| "not even the first rate was borne".to_owned()));
    }
    for limit in &report.thresholds {
        let value = limit.value.map_or("was not measured".to_owned(), |value| format!("is {value:.2}"));
        case(
            &format!("threshold {} {}", limit.name, limit.limit),
            (!limit.ok).then(|| format!("{} {value}", limit.name)),
        );
    }
    let mut document = Document::new("flotilla loadtest");
    document.add_test_suite(suite);
    document.to_string().expect("names and messages are text")
}
