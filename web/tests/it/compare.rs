//! Two submissions beside each other: who may see it, and what it says.

use crate::desk::{Hand, submitted};
use crate::helpers::TestApp;

/// 100 documents, all right but for these.
fn but(wrong: impl IntoIterator<Item = usize>) -> Vec<bool> {
    let mut right = vec![true; 100];
    wrong.into_iter().for_each(|at| right[at] = false);
    right
}

#[tokio::test]
async fn the_board_is_compared_by_everyone_and_the_rest_by_its_team() {
    let app = TestApp::with_contest().await;
    let hand = Hand::enrol(&app, "only").await;
    let (mut a, mut b) = (app.captain("ann", "Team A").await, app.captain("bob", "Team B").await);
    let best = submitted(&mut a, "a1", "w4a16-gptq").await;
    hand.grade_by_document(&but([1, 2, 3])).await;
    let other = submitted(&mut b, "b1", "w4a16-asym").await;
    hand.grade_by_document(&but(3..20)).await;
    // Larger than the team's best, so not on the board; and one that waits.
    let behind = submitted(&mut b, "b2", "w8a16").await;
    hand.grade_by_document(&but([3])).await;
    let waiting = submitted(&mut b, "b3", "w8a16").await;

    let mut nobody = app.browser();
    let address = |a: &str, b: &str| format!("/compare?a={a}&b={b}");
    for language in ["en", "ko"] {
        nobody.language = language;
        let page = nobody.get(&address(&best, &other)).await;
        assert_eq!(page.status, 200, "{}", page.text);
        let cells: Vec<&str> = page.text.split("<td class=\"num").skip(1).collect();
        let cells: Vec<&str> = cells
            .iter()
            .filter_map(|cell| cell.split_once('>')?.1.split('<').next())
            .collect();
        // Documents, both right, only the first, only the second, both wrong, difference.
        assert_eq!(&cells[..6], ["100", "81", "16", "2", "1", "+0.1400"], "{cells:?}");
        assert!(page.text.contains("class=\"differs\""), "{}", page.text);
        assert!(
            page.text.contains(&format!("/compare?a={other}&#38;b={best}")),
            "{}",
            page.text
        );
    }
    assert!(
        nobody.get("/").await.text.contains("action=\"/compare\""),
        "the board leads there"
    );

    let strange = "01890000-0000-7000-8000-000000000000";
    for (who, seen) in [(&mut nobody, 404), (&mut a, 404), (&mut b, 200)] {
        assert_eq!(who.get(&address(&best, &behind)).await.status, seen);
        for gone in [waiting.as_str(), strange, "no-id"] {
            let status = who.get(&address(&best, gone)).await.status;
            assert!((400..500).contains(&status), "{gone}: {status}");
        }
    }
    let page = b.get(&address(&behind, &other)).await;
    assert!(page.text.contains("b2") && page.text.contains(&format!("/submissions/{behind}")));
}
