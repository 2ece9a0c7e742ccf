use proptest::prelude::*;

use super::*;

fn stops(stops: &[&str]) -> Vec<String> {
    stops.iter().map(|stop| stop.to_string()).collect()
}

#[test]
fn the_earliest_stop_cuts_whatever_their_order() {
    let stops = stops(&["</s>", "Question:", ""]);
    assert_eq!(cut("a Question: b </s>", &stops), "a ");
    assert_eq!(cut("</s>Question:", &stops), "");
    assert_eq!(cut("no stop here", &stops), "no stop here");
    assert_eq!(cut("", &stops), "");
}

#[test]
fn a_longer_stop_that_began_earlier_is_waited_for() {
    let stops = stops(&["bc", "abcd"]);
    assert!(!is_settled("xab", &stops));
    assert!(!is_settled("xabc", &stops));
    assert!(is_settled("xabcd", &stops));
    assert!(is_settled("xabce", &stops));
    assert_eq!(cut("xabcd", &stops), "x");
}

#[test]
fn korean_text_is_cut_between_characters() {
    let stops = stops(&["질문:"]);
    assert_eq!(cut("답은 3입니다.질문: 다음", &stops), "답은 3입니다.");
    assert!(is_settled("답질문:", &stops));
    assert!(!is_settled("답질문", &stops));
}

#[test]
fn the_end_of_a_cut_off_character_is_left_out() {
    assert_eq!(whole_characters("끝\u{fffd}\u{fffd}"), "끝");
    assert_eq!(whole_characters("끝"), "끝");
}

fn codec() -> Arc<Codec> {
    static CODEC: std::sync::OnceLock<Arc<Codec>> = std::sync::OnceLock::new();
    CODEC
        .get_or_init(|| Arc::new(crate::tokenizer::tests::fixture()))
        .clone()
}

/// After how many of `ids` a generation ends.
fn streamed(ids: &[u32], stops: &[String]) -> Option<usize> {
    let mut detector = Detector::new(codec(), stops.into(), "[|endofturn|]");
    (1..=ids.len()).find(|&n| detector.is_over(&ids[..n]))
}

/// The same the slow and obvious way: decode everything after each token.
fn obvious(ids: &[u32], stops: &[String]) -> Option<usize> {
    let codec = codec();
    let spelled: Vec<String> = stops
        .iter()
        .filter(|stop| codec.spells_special(stop))
        .cloned()
        .collect();
    let over = |ids: &[u32]| is_settled(&codec.decode(ids), stops) || earliest(&codec.show(ids), &spelled).is_some();
    (1..=ids.len()).find(|&n| over(&ids[..n]))
}

#[test]
fn a_stop_is_found_wherever_it_stands() {
    let long = "사과 7개와 9개를 더하면 모두 몇 개입니까? 12 + 30 = 42 ".repeat(12);
    let cases: [(&[&str], String); 5] = [
        (&["Question:", "</s>"], format!("{long}#### 42\n\nQuestion: 연필")),
        (&["개입니까?\n"], format!("{long}몇 개입니까?\nAnswer:")),
        (&["\u{ac1c}"], "달걀 9개".to_string()),
        (&["는끝", "끝"], format!("{long}이제는끝입니다")),
        (&["never"], long.clone()),
    ];
    for (names, text) in cases {
        let (stops, ids) = (stops(names), codec().encode(&text));
        assert_eq!(streamed(&ids, &stops), obvious(&ids, &stops), "{names:?}");
    }
}

/// A stop that spells a special token ends the generation at that token and cuts nothing: its text is no part of the
/// answer. Letters that only stand inside such a spelling are no stop.
#[test]
fn special_tokens_end_a_generation_but_are_no_text() {
    let ids = codec().encode("42\n[|user|]\nuser");
    let special = codec().special("[|user|]").unwrap();
    let at = ids.iter().position(|id| *id == special).unwrap() + 1;
    assert_eq!(streamed(&ids, &stops(&["[|user|]"])), Some(at));
    assert_eq!(streamed(&ids, &stops(&["\n[|user|]\n"])), Some(at + 1));
    assert_eq!(cut(&codec().decode(&ids[..at]), &stops(&["[|user|]"])), "42\n");
    assert_eq!(streamed(&ids, &stops(&["user"])), Some(ids.len()));
    // The end of a turn ends a generation by itself.
    assert_eq!(
        streamed(&codec().encode("a[|endofturn|]b"), &stops(&["[|endofturn|]"])),
        None
    );
    // What stands on both sides of a special token is one text.
    let ids = codec().encode("Ques[|user|]tion: 1");
    assert_eq!(cut(&codec().decode(&ids), &stops(&["Question:"])), "");
    assert!(streamed(&ids, &stops(&["Question:"])).unwrap() < ids.len());
}

/// One stop of a few letters of any script, as tokens may break it.
fn stop() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab]{1,4}",
        "[가-깋]{1,2}",
        "(\n|:| |개|뷁|é|🙂){1,3}",
        Just("Question:".to_string()),
        Just("[|user|]".to_string()),
        Just("</think>\n".to_string()),
    ]
}

/// Texts in which such stops are likely, cut into tokens, with some tokens changed so that characters break.
fn ids() -> impl Strategy<Value = Vec<u32>> {
    let piece = prop_oneof![
        stop(),
        "[abc ]{1,6}",
        "(사과|개|뷁|🙂|é| 7|\n){1,5}",
        Just("[|user|]".to_string()),
        Just("Ques".to_string()),
        Just("tion:".to_string()),
    ];
    let pieces = prop::collection::vec(piece, 0..40).prop_map(|pieces| codec().encode(&pieces.concat()));
    let random = prop::collection::vec(10u32..611, 0..120);
    let broken =
        (pieces.clone(), prop::collection::vec((0usize..120, 10u32..270), 0..6)).prop_map(|(mut ids, changes)| {
            for (at, id) in changes {
                if let Some(place) = ids.get_mut(at) {
                    *place = id;
                }
            }
            ids
        });
    prop_oneof![pieces, random, broken]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Watching token by token gives what decoding everything each time gives, and the answer it ends with is the whole
    /// text's: stopping early changes nothing.
    #[test]
    fn watching_a_stream_is_cutting_the_whole_text(ids in ids(), names in prop::collection::vec(stop(), 1..4)) {
        let end = streamed(&ids, &names);
        prop_assert_eq!(end, obvious(&ids, &names));
        let codec = codec();
        let plain = !names.iter().any(|name| codec.spells_special(name));
        if let Some(end) = end.filter(|_| plain) {
            let (early, whole) = (codec.decode(&ids[..end]), codec.decode(&ids));
            prop_assert_eq!(cut(&early, &names), cut(&whole, &names));
        }
    }
}

/// Each token costs the decoding of a window and the search of what is remembered, both bounded: watching is linear.
#[test]
fn a_token_costs_no_more_late_than_early() {
    let text = "사과 7개와 9개를 더하면 모두 몇 개입니까? 12 + 30 = 42 뷁🙂 ".repeat(200);
    let (ids, stops) = (codec().encode(&text), stops(&["Question:", "</s>", "[|user|]"]));
    assert!(ids.len() > 5_000);
    let mut detector = Detector::new(codec(), stops.into(), "");
    for n in 1..=ids.len() {
        assert!(!detector.is_over(&ids[..n]));
        for tail in [&detector.text, &detector.shown] {
            assert!(n - tail.from < WINDOW + 4, "{} tokens at {n}", n - tail.from);
            assert!(tail.before.len() <= tail.keep + 3, "{:?}", tail.before);
        }
    }
}
