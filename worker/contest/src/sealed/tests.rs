use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::rules::Revealed;

const KEY: &[u8] = b"0123456789abcdef";

fn documents(task: &str, n: usize) -> TaskDocuments {
    TaskDocuments {
        task: task.into(),
        hashes: (0..n).map(|i| format!("{:064x}", i * 7919)).collect(),
    }
}

#[test]
fn the_set_is_what_another_program_finds() {
    // Python: sorted(range(10), key=lambda i: hmac.new(KEY, b"gsm8k\x1f" + b"%064x" % (i * 7919), sha256).digest())[:3],
    // and sha256 over the sorted lines.
    let set = SealedSet::choose(KEY, 0.3, &[documents("gsm8k", 10)]).unwrap();
    let indices: Vec<usize> = set.documents().map(|(_, index, _)| index).collect();
    assert_eq!(indices, PYTHON_INDICES);
    assert_eq!(set.digest(), PYTHON_DIGEST);
}
const PYTHON_INDICES: [usize; 3] = [2, 4, 5];
const PYTHON_DIGEST: &str = "36256a52eef3b438d931d5386963c01977273199aea74fc5e41529f6f742e9bc";

#[test]
fn a_key_opens_what_it_sealed_and_nothing_else() {
    let tasks = [documents("a", 40), documents("b", 25)];
    let rules = Sealed {
        share: 0.4,
        digest: SealedSet::choose(KEY, 0.4, &tasks).unwrap().digest(),
        after: Revealed::All,
    };
    let set = SealedSet::open(KEY, &rules, &tasks).unwrap();
    assert_eq!((0..40).filter(|i| set.contains("a", *i)).count(), 16);
    assert!(!set.contains("c", 0));
    let json = serde_json::to_value(&set).unwrap();
    assert_eq!(json["a"].as_object().unwrap().len(), 16);
    assert_eq!(serde_json::from_value::<SealedSet>(json).unwrap(), set);
    let other = SealedSet::open(b"another key, long enough", &rules, &tasks).unwrap_err();
    assert_eq!(other.code(), "seal-other-set");
    let fewer = SealedSet::open(KEY, &rules, &tasks[..1]).unwrap_err();
    assert_eq!(fewer.code(), "seal-other-set");
}

#[test]
fn what_cannot_be_sealed_is_said() {
    let short = SealedSet::choose(b"hunter2", 0.5, &[documents("a", 10)]).unwrap_err();
    assert_eq!(short, SealError::ShortKey(7));
    for (share, n, sealed) in [(0.1, 4, 0), (0.9, 4, 4), (0.5, 0, 0), (0.5, 1, 1)] {
        let error = SealedSet::choose(KEY, share, &[documents("a", n)]).unwrap_err();
        let wanted = SealError::Lopsided {
            task: "a".into(),
            sealed,
            of: n,
        };
        assert_eq!(error, wanted);
        let text = error.text();
        assert!(text.en != text.ko && text.ko.contains('봉'));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Exactly the share of each task, whatever the key.
    #[test]
    fn the_share_is_exact(key in prop::collection::vec(any::<u8>(), 16..80), percent in 5u32..95, n in 20usize..300) {
        let share = f64::from(percent) / 100.0;
        let set = SealedSet::choose(&key, share, &[documents("a", n), documents("b", 2 * n)]).unwrap();
        for (task, n) in [("a", n), ("b", 2 * n)] {
            let sealed = (0..n).filter(|i| set.contains(task, *i)).count();
            prop_assert_eq!(sealed, (share * n as f64).round() as usize);
        }
    }

    /// The documents chosen do not depend on where they stand, nor on the tasks beside theirs.
    #[test]
    fn order_does_not_choose(
        shuffled in Just(documents("a", 60).hashes).prop_shuffle(),
        share in 0.1..0.9f64,
    ) {
        let hashes = |set: &SealedSet| -> BTreeSet<String> {
            set.documents().filter(|(task, ..)| *task == "a").map(|(_, _, hash)| hash.to_owned()).collect()
        };
        let plain = SealedSet::choose(KEY, share, &[documents("a", 60)]).unwrap();
        let other = TaskDocuments { task: "a".into(), hashes: shuffled };
        let beside = SealedSet::choose(KEY, share, &[documents("b", 30), other]).unwrap();
        prop_assert_eq!(hashes(&plain), hashes(&beside));
    }

    /// Another key, another set; the same hashes under another task's name, another choice.
    #[test]
    fn keys_and_tasks_choose_apart(other in prop::collection::vec(any::<u8>(), 16..40)) {
        prop_assume!(other != KEY);
        let digest = |key: &[u8]| SealedSet::choose(key, 0.5, &[documents("a", 100)]).unwrap().digest();
        prop_assert_ne!(digest(KEY), digest(&other));
        let set = SealedSet::choose(&other, 0.5, &[documents("a", 100), documents("b", 100)]).unwrap();
        prop_assert!((0..100).any(|i| set.contains("a", i) != set.contains("b", i)));
    }
}
