//! How Argo CD brings an Application to its cluster. Out: our `spec.sync`.

use gitops_core::plan::Options;
use serde_json::{Map as Object, Value, json};

use crate::convert::field::{Field, Map, Weight};
use crate::convert::{put, some};

/// Argo CD tries without end where the limit is negative; ours is the most.
const MOST: i64 = 1000;

/// Reads `syncPolicy` into `spec.sync`, and what it says of the namespace into
/// the destination.
pub(super) fn policy(fields: &mut Map<'_>, spec: &mut Object<String, Value>) {
    let Some(mut policy) = fields.map("syncPolicy") else { return };
    let mut sync = Object::new();
    if let Some(mut automated) = policy.map("automated") {
        if automated.flag("enabled") != Some(false) {
            sync.insert("mode".into(), "Automatic".into());
            let heals = automated.is("selfHeal");
            put(&mut sync, "selfHeal", (!heals).then(|| false.into()));
        }
        put(&mut sync, "prune", automated.is("prune").then(|| true.into()));
        automated.pass(&["selfHeal"]);
        automated.leave(
            Weight::How,
            &[("allowEmpty", "when Git declares nothing any more, a person has to say so: kubectl gitops sync --allow-empty")],
        );
        automated.end();
    }
    let mut options = Vec::new();
    for option in policy.items("syncOptions") {
        let Some(text) = option.text() else { continue };
        match (text.as_str(), Options::read([text.as_str()], false)) {
            ("CreateNamespace=true", _) => creates_namespace(spec),
            ("CreateNamespace=false", _) => {}
            (_, Ok(_)) => options.push(text),
            (_, Err(reason)) => option
                .tell(Weight::How, format!("{reason}; it is left out (docs/sync.md lists those there are)")),
        }
    }
    put(&mut sync, "options", some(options));
    put(&mut sync, "retry", retry(&mut policy));
    if let Some(metadata) = policy.take("managedNamespaceMetadata").filter(Field::is_said) {
        metadata.tell(Weight::What, "a namespace that is made for an Application has no labels or annotations of its own: commit a Namespace with these beside the objects");
    }
    policy.end();
    put(spec, "sync", (!sync.is_empty()).then(|| sync.into()));
}

fn creates_namespace(spec: &mut Object<String, Value>) {
    let destination = spec.entry("destination").or_insert_with(|| json!({}));
    destination["createNamespace"] = true.into();
}

fn retry(policy: &mut Map<'_>) -> Option<Value> {
    let mut retry = policy.map("retry")?;
    let mut ours = json!({});
    if let Some(limit) = retry.take("limit") {
        match limit.value.as_i64() {
            Some(number) if (0..=MOST).contains(&number) => ours["limit"] = number.into(),
            Some(_) => {
                limit.tell(Weight::How, format!("a sync is tried {MOST} times at most"));
                ours["limit"] = MOST.into();
            }
            None => limit.tell(Weight::How, "a number is expected here: left out"),
        }
    }
    if let Some(mut backoff) = retry.map("backoff") {
        for (theirs, own) in [("duration", "backoff"), ("maxDuration", "max")] {
            if let Some(text) = backoff.text(theirs) {
                ours[own] = duration(text).into();
            }
        }
        if let Some(factor) = backoff.take("factor").filter(|factor| factor.value.as_i64() != Some(2)) {
            factor.tell(Weight::How, "every pause is twice the one before");
        }
        backoff.end();
    }
    retry.leave(Weight::How, &[("refresh", "a sync always means the newest commit")]);
    retry.end();
    Some(ours)
}

/// A bare number counts seconds.
fn duration(text: String) -> String {
    if text.bytes().all(|letter| letter.is_ascii_digit()) { format!("{text}s") } else { text }
}
