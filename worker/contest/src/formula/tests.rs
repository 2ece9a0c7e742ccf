use proptest::prelude::*;

use super::*;

fn value(source: &str) -> Result<f64, ScoreError> {
    let measures = Measures::from_iter([
        ("bytes", 250.0),
        ("base.bytes", 1000.0),
        ("acc.mini_gsm.exact_match.strict-match", 0.8),
        ("base.acc.mini_gsm.exact_match.strict-match", 0.9),
        ("time_per_token", 0.0),
        ("peak_memory", f64::NAN),
        ("wall_seconds", f64::INFINITY),
    ]);
    Formula::parse(source).unwrap().eval(&measures)
}

fn mistake(source: &str) -> (usize, &'static str) {
    let error = Formula::parse(source).unwrap_err();
    assert!(error.at + error.len <= source.len(), "{source}");
    assert!(
        source.is_char_boundary(error.at) && source.is_char_boundary(error.at + error.len),
        "{source}"
    );
    assert!(!error.message.ko.is_empty() && !error.fix.en.is_empty() && !error.fix.ko.is_empty());
    (error.at, error.code)
}

#[test]
fn arithmetic_follows_the_usual_rules() {
    for (source, expected) in [
        ("1 + 2 * 3", 7.0),
        ("(1 + 2) * 3", 9.0),
        ("10 - 4 - 3", 3.0),
        ("100 / 10 / 2", 5.0),
        ("2 ^ 3 ^ 2", 512.0),
        ("-2 ^ 2", -4.0),
        ("(-2) ^ 2", 4.0),
        ("2 ^ -1", 0.5),
        ("--3", 3.0),
        ("2 * -3 + 1", -5.0),
        ("1e3 + 2.5E-1", 1000.25),
        ("base.bytes / bytes", 4.0),
        ("acc.mini_gsm.exact_match.strict-match - 1", 0.8 - 1.0),
        (
            "acc.mini_gsm.exact_match.strict-match/base.acc.mini_gsm.exact_match.strict-match",
            0.8 / 0.9,
        ),
        ("min(3, 1, 2)", 1.0),
        ("max(3, 1, 2)", 3.0),
        ("abs(-2)", 2.0),
        ("sqrt(9)", 3.0),
        ("ln(exp(2))", 2.0),
        ("clamp(5, 0, 1)", 1.0),
        ("clamp(-5, 0, 1)", 0.0),
        ("if(1 < 2, 10, 20)", 10.0),
        ("if(1 >= 2, 10, 20)", 20.0),
        ("if(0, 1 / 0, 7)", 7.0),
        ("1 + 1 == 2", 1.0),
        ("1 != 1", 0.0),
        ("0 * -1", 0.0),
    ] {
        let got = value(source).unwrap();
        assert_eq!(got, expected, "{source}");
        assert!(!(got == 0.0 && got.is_sign_negative()), "{source}: the negative zero");
    }
}

#[test]
fn what_is_not_defined_is_an_error_and_never_a_number() {
    for (source, expected) in [
        ("1 / 0", ScoreError::DivisionByZero),
        ("1 / time_per_token", ScoreError::DivisionByZero),
        ("0 ^ -1", ScoreError::DivisionByZero),
        ("sqrt(-1)", ScoreError::Domain("sqrt")),
        ("ln(0)", ScoreError::Domain("ln")),
        ("(-8) ^ 0.5", ScoreError::Domain("^")),
        ("clamp(1, 2, 0)", ScoreError::Domain("clamp")),
        ("exp(1000)", ScoreError::Overflow),
        ("10 ^ 400", ScoreError::Overflow),
        // An infinite part is an error even where a later step would hide it.
        ("min(1, 1e308 * 10)", ScoreError::Overflow),
        ("max(0, peak_memory)", ScoreError::NotFinite("peak_memory".into())),
        ("min(0, wall_seconds)", ScoreError::NotFinite("wall_seconds".into())),
        // Also in the branch that is not taken: the score depends on what was not measured.
        ("if(1, 2, load_seconds)", ScoreError::Missing("load_seconds".into())),
        (
            "acc.mini_gsm.exact_match.strict-match-1",
            ScoreError::Missing("acc.mini_gsm.exact_match.strict-match-1".into()),
        ),
    ] {
        assert_eq!(value(source), Err(expected), "{source}");
    }
}

#[test]
fn mistakes_are_named_where_they_are() {
    for (source, at, code) in [
        ("", 0, "formula-value"),
        ("1 +", 3, "formula-value"),
        ("1 + * 2", 4, "formula-value"),
        ("()", 1, "formula-value"),
        ("2 bytes", 2, "formula-operator"),
        ("(1 + 2", 0, "formula-parenthesis"),
        ("1 + 2)", 5, "formula-parenthesis"),
        ("max(1, 2", 3, "formula-parenthesis"),
        ("max(1 2)", 6, "formula-arguments"),
        ("(1 2)", 3, "formula-operator"),
        ("1 < 2 < 3", 6, "formula-chained-comparison"),
        ("bytes × 2", 6, "formula-character"),
        ("바이트 / 2", 0, "formula-character"),
        ("bytes ** 2", 6, "formula-character"),
        ("a = b", 2, "formula-character"),
        ("1.2.3", 0, "formula-number"),
        ("12abc", 0, "formula-number"),
        ("1e999", 0, "formula-number"),
        ("1.", 0, "formula-number"),
        ("sqr(2)", 0, "formula-unknown-function"),
        ("max", 0, "formula-arguments"),
        ("max(1)", 0, "formula-arguments"),
        ("max()", 0, "formula-arguments"),
        ("sqrt(1, 2)", 0, "formula-arguments"),
        ("1 + if(1, 2)", 4, "formula-arguments"),
    ] {
        let (got_at, got_code) = mistake(source);
        // A call whose arguments do not match its name is reported at the name.
        let at = if source == "max(1 2)" { 0 } else { at };
        assert_eq!((got_at, got_code), (at, code), "{source}");
    }
}

#[test]
fn a_misspelt_function_is_guessed() {
    let error = Formula::parse("clmap(1, 2, 3)").unwrap_err();
    assert_eq!(error.fix.en, "Did you mean `clamp`?");
}

#[test]
fn size_and_depth_are_bounded() {
    assert_eq!(mistake(&" ".repeat(MAX_BYTES + 1)).1, "formula-too-long");
    for open in ["(", "-", "2^", "abs(", "if(1,1,"] {
        let deep = open.repeat(MAX_DEPTH + 1);
        assert_eq!(mistake(&deep).1, "formula-too-deep", "{open}");
    }
    let sum = "1+".repeat(MAX_NODES);
    assert_eq!(mistake(&sum).1, "formula-too-big");
    let most = format!("max(1{})", ",1".repeat(MAX_ARGUMENTS - 1));
    assert_eq!(value(&most), Ok(1.0));
    let more = format!("max(1{})", ",1".repeat(MAX_ARGUMENTS));
    assert_eq!(mistake(&more).1, "formula-arguments");
    // The longest left-leaning sum: evaluation and printing recurse over it.
    let sum = format!("1{}", "+1".repeat((MAX_NODES - 1) / 2));
    let formula = Formula::parse(&sum).unwrap();
    assert_eq!(formula.eval(&Measures::default()), Ok(250.0));
    assert_eq!(Formula::parse(&formula.to_string()).unwrap(), formula);
}

#[test]
fn unknown_measures_are_all_found_in_their_places() {
    let formula = Formula::parse("bytes / baes.bytes + byte").unwrap();
    assert_eq!(
        formula.measures().into_iter().collect::<Vec<_>>(),
        ["baes.bytes", "byte", "bytes"]
    );
    let errors = formula.check(&|name| name == "bytes").unwrap_err();
    let places: Vec<(usize, usize)> = errors.iter().map(|e| (e.at, e.len)).collect();
    assert_eq!(places, [(8, 10), (21, 4)]);
    assert!(formula.check(&|_| true).is_ok());
}

#[test]
fn canonical_spelling() {
    for (source, canonical) in [
        ("((bytes))/ (2)", "bytes / 2"),
        ("1-(2-3)", "1 - (2 - 3)"),
        ("(1-2)-3", "1 - 2 - 3"),
        ("2^-1", "2 ^ -1"),
        ("(-2)^2", "(-2) ^ 2"),
        ("(2^3)^2", "(2 ^ 3) ^ 2"),
        ("max( 1,2 )", "max(1, 2)"),
        ("1000000000000.0", "1e12"),
        ("0.50", "0.5"),
        ("(1<2)==(2<3)", "(1 < 2) == (2 < 3)"),
        ("-(1+2)", "-(1 + 2)"),
    ] {
        assert_eq!(Formula::parse(source).unwrap().to_string(), canonical, "{source}");
    }
}

fn expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        (0.0..1e6f64).prop_map(Expr::Number),
        any::<f64>()
            .prop_filter("finite", |x| x.is_finite())
            .prop_map(|x| Expr::Number(x.abs())),
        prop::sample::select(vec![
            "bytes",
            "base.bytes",
            "acc.t.exact_match.strict-match",
            "base.acc.t.m-1.f"
        ])
        .prop_map(|name| Expr::Measure(name.to_owned())),
    ];
    leaf.prop_recursive(5, 48, 3, |inner| {
        let op = prop::sample::select(vec![
            Op::Add,
            Op::Subtract,
            Op::Multiply,
            Op::Divide,
            Op::Power,
            Op::Less,
            Op::LessEqual,
            Op::Greater,
            Op::GreaterEqual,
            Op::Equal,
            Op::NotEqual,
        ]);
        let call = prop::sample::select(Function::ALL.to_vec()).prop_flat_map({
            let inner = inner.clone();
            move |function| {
                let (fewest, most) = function.arity();
                prop::collection::vec(inner.clone(), fewest..=most.min(3)).prop_map(move |a| Expr::Call(function, a))
            }
        });
        prop_oneof![
            inner.clone().prop_map(|e| Expr::Negate(Box::new(e))),
            (op, inner.clone(), inner).prop_map(|(op, a, b)| Expr::Binary(op, Box::new(a), Box::new(b))),
            call,
        ]
    })
}

fn measures() -> impl Strategy<Value = Measures> {
    let value = prop_oneof![
        8 => -10.0..10.0f64,
        1 => prop::sample::select(vec![0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300]),
    ];
    prop::collection::btree_map(
        prop::sample::select(vec![
            "bytes".to_owned(),
            "base.bytes".to_owned(),
            "acc.t.exact_match.strict-match".to_owned(),
            "base.acc.t.m-1.f".to_owned(),
        ]),
        value,
        0..5,
    )
    .prop_map(Measures)
}

/// The plainest possible evaluation, with IEEE's NaN and infinity: what the strict one must agree with where it answers.
fn naive(expr: &Expr, measures: &Measures) -> f64 {
    let truth = |holds: bool| f64::from(u8::from(holds));
    match expr {
        Expr::Number(x) => *x,
        Expr::Measure(name) => measures.0.get(name).copied().unwrap_or(f64::NAN),
        Expr::Negate(a) => -naive(a, measures),
        Expr::Binary(op, a, b) => {
            let (a, b) = (naive(a, measures), naive(b, measures));
            match op {
                Op::Add => a + b,
                Op::Subtract => a - b,
                Op::Multiply => a * b,
                Op::Divide => a / b,
                Op::Power => a.powf(b),
                Op::Less => truth(a < b),
                Op::LessEqual => truth(a <= b),
                Op::Greater => truth(a > b),
                Op::GreaterEqual => truth(a >= b),
                Op::Equal => truth(a == b),
                Op::NotEqual => truth(a != b),
            }
        }
        Expr::Call(function, arguments) => {
            let v: Vec<f64> = arguments.iter().map(|a| naive(a, measures)).collect();
            match function {
                Function::Min => v.iter().copied().fold(f64::INFINITY, f64::min),
                Function::Max => v.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                Function::Abs => v[0].abs(),
                Function::Sqrt => v[0].sqrt(),
                Function::Ln => v[0].ln(),
                Function::Exp => v[0].exp(),
                Function::Clamp => v[0].max(v[1]).min(v[2]),
                Function::If => {
                    if v[0] != 0.0 {
                        v[1]
                    } else {
                        v[2]
                    }
                }
            }
        }
    }
}

proptest! {
    /// Printing and parsing are inverse: the canonical spelling loses nothing and is its own canonical spelling.
    #[test]
    fn printed_formulas_read_back(root in expr(), measures in measures()) {
        let written = Formula { root: root.clone(), names: Vec::new() }.to_string();
        prop_assume!(written.len() <= MAX_BYTES);
        let read = Formula::parse(&written).map_err(|e| TestCaseError::fail(format!("{written}: {e}")))?;
        prop_assert_eq!(&read.root, &root, "{}", written);
        prop_assert_eq!(read.to_string(), written);

        // Whitespace, which means nothing, changes nothing.
        let spread = read.to_string().replace(' ', " \n\t ").replace('(', " ( ").replace(')', " ) ");
        if spread.len() <= MAX_BYTES {
            prop_assert_eq!(&Formula::parse(&spread).unwrap(), &read);
        }

        // Where there is a value, it is finite, is what plain arithmetic says, and every measure was there.
        if let Ok(value) = read.eval(&measures) {
            prop_assert!(value.is_finite());
            prop_assert_eq!(value, naive(&root, &measures));
            for name in read.measures() {
                prop_assert!(measures.0.get(&name).is_some_and(|x| x.is_finite()));
            }
        }
    }

    /// Nothing people or machines can type makes it panic or point outside the source.
    #[test]
    fn any_text_is_parsed_or_refused(source in "[-a-z0-9.+*/^()<>=!, _가×]{0,60}|.{0,80}") {
        if let Err(error) = Formula::parse(&source) {
            prop_assert!(source.get(error.at..error.at + error.len).is_some());
        }
    }

    /// Taking any one measure away takes the score away.
    #[test]
    fn no_score_without_every_measure(root in expr(), which in any::<prop::sample::Index>()) {
        // One measure at least.
        let root = Expr::Binary(Op::Add, Box::new(Expr::Measure("bytes".into())), Box::new(root));
        let formula = Formula::parse(&Formula { root, names: Vec::new() }.to_string());
        // Only a formula beyond the limits is refused: nothing to see then.
        let Ok(formula) = formula else { return Ok(()) };
        let names: Vec<String> = formula.measures().into_iter().collect();
        let gone = &names[which.index(names.len())];
        for worthless in [None, Some(f64::NAN), Some(f64::INFINITY), Some(f64::NEG_INFINITY)] {
            let measures = Measures(names.iter().filter_map(|name| {
                let value = if name == gone { worthless? } else { 1.0 };
                Some((name.clone(), value))
            }).collect());
            prop_assert!(formula.eval(&measures).is_err());
        }
    }
}
