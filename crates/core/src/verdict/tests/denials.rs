//! What a denial tells the user.

use serde_json::json;

use super::*;

#[test]
fn denials_have_six_parts() {
    let text = |case: &Case| denial(&verdict_of(case, RULES));
    insta::assert_snapshot!(text(&Case { subresource: "scale", old: Some(scale(2)), new: Some(scale(5)), ..case("", "") }), @"
    Deployment shop/web is kept as Git says
      field:  spec.replicas
      git:    2
      tried:  5
      commit: c2 apps/web.yaml:7, application shop/web
      hint:   change apps/web.yaml:7, commit, push, then: kubectl gitops sync web
    ");
    insta::assert_snapshot!(text(&Case { operation: Operation::Delete, new: None, ..case("", "") }), @"
    Deployment shop/web is kept as Git says
      field:  (the whole object)
      git:    declared
      tried:  (deleted)
      commit: c2 apps/web.yaml:1, application shop/web
      hint:   remove it from apps/web.yaml:1, commit, push, then: kubectl gitops sync web --prune
    ");
    let sidecar =
        with(web("web:1", 2), "/spec/template/spec/containers/-", json!({"name": "x", "image": "x"}));
    insta::assert_snapshot!(text(&Case { new: Some(sidecar), ..case("", "") }), @r#"
    Deployment shop/web is kept as Git says
      field:  spec.template.spec.containers[name=x]
      git:    (not declared)
      tried:  {"image":"x","name":"x"}
      commit: c2 apps/web.yaml:6, application shop/web
      hint:   change apps/web.yaml:6, commit, push, then: kubectl gitops sync web
    "#);
}

#[test]
fn fifty_differences_fit_on_a_screen_and_secrets_stay_secret() {
    let secret = |value: &str| {
        let data: serde_json::Map<_, _> = (0..50).map(|i| (format!("k{i}"), value.into())).collect();
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "shop"}, "data": data})
    };
    let case = Case {
        old: Some(secret("aHVudGVy")),
        new: Some(secret("c3VwZXI=")),
        wants: vec![("c2", Some(secret("aHVudGVy")))],
        ..case("", "")
    };
    let text = denial(&verdict_of(&case, RULES));
    assert!(text.lines().count() <= 15, "{text}");
    assert!(text.contains("and 47 more"), "{text}");
    assert!(!text.contains("aHVudGVy") && !text.contains("c3VwZXI="), "{text}");
}
