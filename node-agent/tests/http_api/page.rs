//! The web page: it loads nothing from elsewhere, parses no answer as HTML, and has a content security policy that forbids
//! both.

use crate::exchange::get;
use crate::model::Node;
use crate::served::Served;

#[tokio::test]
async fn the_page_is_self_contained_and_its_policy_forbids_everything_else() {
    let served = Served::start(Node::default()).await;
    let page = get(served.address, "/", "").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{policy}");
    for tag in ["<script>", "<style", " style=", " onload=", " onclick=", "//"] {
        assert!(!page.body.contains(tag), "{tag}");
    }
    let mut named = 0;
    for (attribute, rest) in
        ["href=\"", "src=\""].iter().flat_map(|a| page.body.split(a).skip(1).map(move |r| (a, r)))
    {
        let target = rest.split('"').next().expect("a value");
        if target.starts_with('#') {
            continue;
        }
        assert!(target.starts_with('/'), "{attribute}{target}");
        // An event stream has no end to wait for.
        if target != "/v1/watch" {
            assert_eq!(get(served.address, target, "").await.status, 200, "{target}");
        }
        named += 1;
    }
    assert!(named >= 11, "{named}");
    for (path, kind) in
        [("/ui/main.js", "text/javascript; charset=utf-8"), ("/ui/page.css", "text/css; charset=utf-8")]
    {
        let file = get(served.address, path, "").await;
        assert_eq!((file.status, file.header("content-type")), (200, Some(kind)));
        for word in ["http:", "https:"] {
            assert!(!file.body.contains(word), "{path}: {word}");
        }
    }
    assert_eq!(get(served.address, "/ui/main.js?x=1", "").await.status, 400);
}
