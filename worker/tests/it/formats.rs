//! `formats`: the committed page is what the command says.

use std::path::Path;

use crate::support::{code, fixture, run, stderr};

/// The cells of the table's rows.
fn rows(page: &str) -> Vec<Vec<String>> {
    page.lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| {
            line.trim_matches('|')
                .split(" | ")
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
        .collect()
}

fn written(arguments: &[&str]) -> String {
    let out = tempfile::tempdir().unwrap();
    let page = out.path().join("formats.md");
    let mut all: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"formats"];
    let fixtures = fixture("");
    all.push(&fixtures);
    all.extend(arguments.iter().map(|argument| argument as &dyn AsRef<std::ffi::OsStr>));
    all.extend([&"--out" as &dyn AsRef<std::ffi::OsStr>, &page]);
    let output = run(&all);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    std::fs::read_to_string(&page).unwrap()
}

fn committed() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/formats.md")).unwrap()
}

/// Everything that is not a measurement, for every fixture.
#[test]
fn the_committed_page_has_every_verdict_the_command_gives() {
    let (committed, written) = (rows(&committed()), rows(&written(&["--no-run"])));
    assert!(written.len() > 20, "{written:?}");
    let fixed = |rows: &[Vec<String>]| {
        let name = |cell: &str| cell.trim_end_matches(['¹', '²', '³']).to_owned();
        let row = |row: &Vec<String>| (name(&row[0]), row[1..6].to_vec());
        rows.iter().map(row).collect::<Vec<_>>()
    };
    assert_eq!(
        fixed(&committed),
        fixed(&written),
        "run the command that the page names"
    );
    // the bounds hold on the committed page itself
    for row in committed
        .iter()
        .skip(1)
        .filter(|row| row.len() > 11 && !row[6].is_empty())
    {
        let equal = |cell: &str| cell.split_once(" of ").is_some_and(|(a, b)| a == b);
        let percent = |cell: &str| cell.trim_end_matches('%').parse::<f64>().unwrap();
        let explained = row[0].ends_with(['²', '³']);
        assert!(explained || equal(&row[8]) && percent(&row[10]) >= 99.5, "{row:?}");
    }
}

/// The figures of a few, to within a factor where they are rounding errors.
#[test]
fn the_committed_page_has_the_figures_the_command_gives() {
    let names = ["base", "w4a16-kv8", "fp8-static", "hybrid"];
    let (committed, written) = (rows(&committed()), rows(&written(&["--only", &names.join(",")])));
    for row in written.iter().skip(1) {
        let same = committed.iter().find(|other| other[0] == row[0]);
        let same = same.unwrap_or_else(|| panic!("{row:?}"));
        for column in 6..12 {
            let (a, b) = (&row[column], &same[column]);
            let number = |cell: &str| cell.split(' ').next().unwrap().parse::<f64>();
            match (number(a), number(b)) {
                (Ok(a), Ok(b)) if column % 3 == 0 => {
                    assert!(a <= b * 4.0 + 1e-6 && b <= a * 4.0 + 1e-6, "{row:?} {same:?}")
                }
                _ => assert_eq!(a, b, "{row:?} {same:?}"),
            }
        }
    }
    assert_eq!(written.len(), names.len() + 1);
}
