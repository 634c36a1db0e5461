use topic_trie::*;
#[test]
fn smoke() {
    let mut t = SubscriptionTrie::new(Seed([1, 2]));
    let filters = ["a", "a/b", "a/+", "a/#", "#", "+", "+/b", "$x/#", "a//b", "a/+/b", "/+", "a/b/#", "+/+"];
    for (k, f) in filters.iter().enumerate() {
        assert_eq!(t.insert(f, k as u32, *f), Ok(None));
    }
    let topics = ["a", "a/b", "a/", "/a", "a//b", "$x", "$x/b", "b", "a/b/c"];
    let mut s = Scratch::new();
    for topic in topics {
        let mut got = vec![];
        t.matches(topic, &mut s, |_, f| got.push(*f));
        got.sort();
        let mut want: Vec<_> = filters.iter().copied().filter(|f| matches(f, topic)).collect();
        want.sort();
        assert_eq!(got, want, "{topic}");
    }
    let mut n = 0;
    t.for_each(|f, k, v| {
        assert_eq!(f, *v);
        assert_eq!(filters[k as usize], f);
        n += 1
    });
    assert_eq!(n, filters.len());
    let mut r = RetainedStore::new(Seed([1, 2]));
    for t in topics {
        assert_eq!(r.insert(t, t), Ok(None));
        assert_eq!(r.get(t), Some(&t));
    }
    for f in filters {
        for budget in [1, 2, 100] {
            let mut c = Cursor::new();
            let mut got = vec![];
            while r.scan(f, &mut c, budget, |t, v| {
                assert_eq!(t, *v);
                got.push(*v)
            }) == Scan::More
            {}
            got.sort();
            let mut want: Vec<_> = topics.iter().copied().filter(|t| matches(f, t)).collect();
            want.sort();
            assert_eq!(got, want, "{f}");
        }
    }
    for t in topics {
        assert_eq!(r.remove(t), Some(t));
    }
    for (k, f) in filters.iter().enumerate() {
        assert_eq!(t.remove(f, k as u32), Some(*f));
    }
    assert!(t.is_empty() && r.is_empty());
    assert_eq!(t.memory().node_count, 1);
    assert_eq!(r.memory().level_count, 0);
}
