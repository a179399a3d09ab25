//! Conditions: what each answers, that they obey logic, and that their texts mean what they say.

use std::time::Duration;

use proptest::prelude::*;
use tenure_core::{Condition, Facts, Text};

fn parse(text: &str) -> Condition {
    Condition::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn each_field_answers() {
    let tags: [Text; 2] = ["nightly".into(), "team a".into()];
    let held = Facts {
        tags: &tags,
        holder: Some("host-1_x"),
        acquired: true,
        mode: Some("exclusive"),
        age: Some(Duration::from_secs(3_600)),
    };
    let free = Facts { tags: &tags, ..Facts::default() };
    for (text, is_held, is_free) in [
        ("tags contains nightly", true, true),
        ("tags contains night", false, false),
        ("tags contains \"team a\"", true, true),
        ("holder = host-1_x", true, false),
        ("holder equals host-1", false, false),
        ("holder contains host-1", true, false),
        ("holder contains \"\"", true, false),
        ("acquired = true", true, false),
        ("acquired equals false", false, true),
        ("mode = exclusive", true, false),
        ("mode = shared", false, false),
        ("age > 59m", true, false),
        ("age > 1h", false, false),
        ("age < 1h", false, false),
        ("age < 3600.5", true, false),
        ("age < 1.5d", true, false),
        ("not age > 1ms", false, true),
        ("all()", true, true),
        ("any()", false, false),
        ("not any()", true, true),
        ("any() or all()", true, true),
        ("acquired = false or mode = exclusive and tags contains nightly", true, true),
        ("(acquired = false or mode = exclusive) and tags contains x", false, false),
        ("not acquired = true and tags contains nightly", false, true),
        ("not(acquired = true and tags contains x)", true, true),
    ] {
        assert_eq!(
            (parse(text).holds(&held), parse(text).holds(&free)),
            (is_held, is_free),
            "{text}"
        );
    }
}

#[test]
fn what_is_built_is_what_is_read() {
    for (built, text) in [
        (Condition::tag("a").and(Condition::acquired(true)), "tags contains a and acquired = true"),
        (!Condition::holder("x y"), "not holder = \"x y\""),
        (Condition::holder("\"\\"), r#"holder = "\"\\""#),
        (Condition::holder("and"), "holder = \"and\""),
        (
            Condition::mode("m").or(Condition::tag("b")).or(Condition::tag("c")),
            "mode = m or tags contains b or tags contains c",
        ),
        (Condition::all([]), "all()"),
        (Condition::any([Condition::tag("a")]), "any(tags contains a)"),
        (
            Condition::tag("a").or(Condition::tag("b")).and(Condition::tag("c")),
            "(tags contains a or tags contains b) and tags contains c",
        ),
        (Condition::older_than(Duration::from_millis(1_500)), "age > 1.5s"),
    ] {
        assert_eq!(built.to_string(), text);
        assert_eq!(parse(text), built);
    }
}

#[test]
fn what_is_no_condition_is_told_in_one_line() {
    let deep = "not ".repeat(65) + "acquired = true";
    let long = format!("holder = {}", "x".repeat(20_000));
    for (text, says) in [
        ("", "nothing stands where a condition is due"),
        (
            "tags",
            "behind \"tags\" stands no operation and no value, such as `tags contains nightly`",
        ),
        ("age >", "behind \"age\" `>` stands no value"),
        ("\"age\"", "\"age\" stands where a condition is due"),
        ("tags contains and", "where a condition is due"),
        ("tags = x", "Unsupported field operation = or field tags"),
        ("owner = x", "Unsupported field operation = or field owner"),
        ("acquired = yes", "it is `true` or `false`"),
        ("age > soon", "is no duration"),
        ("age > .5h", "is no duration"),
        ("age > 99999999999999999999d", "is no duration"),
        ("age = 5s", "Unsupported field operation = or field age"),
        ("(acquired = true", "not closed"),
        ("acquired = true)", "`)` stands behind a condition"),
        ("acquired = true acquired = true", "join two by"),
        ("holder = \"x", "a quote is not closed"),
        ("all acquired = true", "in parentheses"),
        ("and", "where a condition is due"),
        (&deep, "64 deep"),
        (&long, "at most 16384 bytes"),
    ] {
        let error = Condition::parse(text).unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
        assert_eq!(error.lines().count(), 1);
    }
}

fn conditions() -> impl Strategy<Value = Condition> {
    let text =
        prop_oneof!["[a-c]{0,3}", ".{0,6}", Just("and".to_owned()), Just("()=\"\\ ".to_owned())];
    let age = prop_oneof![
        (0..20_u64).prop_map(Duration::from_secs),
        (0..u64::from(u32::MAX), 0..1_000_000_000_u32).prop_map(|(s, n)| Duration::new(s, n)),
    ];
    let leaf = prop_oneof![
        text.clone().prop_map(Condition::tag),
        text.clone().prop_map(Condition::holder),
        text.clone().prop_map(Condition::holder_contains),
        text.prop_map(Condition::mode),
        any::<bool>().prop_map(Condition::acquired),
        age.clone().prop_map(Condition::older_than),
        age.prop_map(Condition::younger_than),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Condition::all),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Condition::any),
            inner.prop_map(|one| !one),
        ]
    })
}

type Known = (Vec<String>, Option<String>, bool, Option<String>, Option<u64>);

fn known() -> impl Strategy<Value = Known> {
    (
        prop::collection::vec("[a-c]{0,2}", 0..3),
        prop::option::of("[a-c]{0,3}"),
        any::<bool>(),
        prop::option::of("[a-c]{0,2}"),
        prop::option::of(0..20_u64),
    )
}

fn ask(condition: &Condition, (tags, holder, acquired, mode, age): &Known) -> bool {
    let tags: Vec<Text> = tags.iter().map(|tag| tag.as_str().into()).collect();
    condition.holds(&Facts {
        tags: &tags,
        holder: holder.as_deref(),
        acquired: *acquired,
        mode: mode.as_deref(),
        age: age.map(Duration::from_secs),
    })
}

proptest! {
    #[test]
    fn a_condition_is_read_from_its_text(condition in conditions()) {
        let text = condition.to_string();
        prop_assert_eq!(Condition::parse(&text), Ok(condition), "{}", text);
    }

    #[test]
    fn logic_holds(a in conditions(), b in conditions(), known in known()) {
        let (is_a, is_b) = (ask(&a, &known), ask(&b, &known));
        prop_assert_eq!(ask(&a.clone().and(b.clone()), &known), is_a && is_b);
        prop_assert_eq!(ask(&a.clone().or(b.clone()), &known), is_a || is_b);
        prop_assert_eq!(ask(&!a.clone(), &known), !is_a);
        let neither = !(a.clone().or(b.clone()));
        prop_assert_eq!(ask(&neither, &known), ask(&(!a).and(!b), &known));
    }

    #[test]
    fn no_text_panics(text in "([a-z]{0,8}|[()=<>\"\\\\]|tags contains|age >|[0-9.]{0,25}(ms|d)?| ){0,12}") {
        if let Ok(condition) = Condition::parse(&text) {
            prop_assert_eq!(Condition::parse(&condition.to_string()), Ok(condition));
        }
    }
}
