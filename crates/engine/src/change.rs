//! What a change of Git changes in what is declared. In: the same Application
//! at two commits. Out: steps, as a plan from the one to the other; what stays
//! as it is has none.

use gitops_core::compare::{CompareOptions, Difference, Op, World, compare, mask};
use gitops_core::desired::DesiredSet;
use gitops_core::path::{Path, Segment};
use gitops_core::plan::{Action, Options, Stage, Step, order_of};
use gitops_core::schema::Schemas;
use serde_json::Value;

/// The steps from `base` to `head`, in the order in which they would be taken.
/// Every field counts, of custom kinds, too: both sides are what Git says.
pub fn change(base: &DesiredSet, head: &DesiredSet, schemas: &Schemas) -> Vec<Step> {
    let options = CompareOptions { world: World::Closed, free: &[] };
    let mut steps = Vec::new();
    for (key, object) in &head.objects {
        let (action, differences) = match base.objects.get(key) {
            None => (Action::Create, Vec::new()),
            Some(before) => {
                let mut differences = compare(schemas, &object.gvk, &object.value, &before.value, &options);
                dropped(&before.value, &object.value, &mut differences);
                // What either side keeps encrypted; who shows them masks the rest.
                let hidden = &before.origin.confidential;
                differences.iter_mut().for_each(|difference| mask(&object.gvk, difference, hidden));
                (Action::Update, differences)
            }
        };
        if action == Action::Create || !differences.is_empty() {
            steps.push(Step {
                key: key.clone(),
                gvk: object.gvk.clone(),
                action,
                differences,
                stage: Stage::Apply,
                wave: 0,
                group: order_of(&key.kind),
                options: Options::default(),
            });
        }
    }
    for (key, object) in base.objects.iter().filter(|(key, _)| !head.objects.contains_key(*key)) {
        steps.push(Step {
            key: key.clone(),
            gvk: object.gvk.clone(),
            action: Action::Prune,
            differences: Vec::new(),
            stage: Stage::Prune,
            wave: 0,
            group: u32::MAX,
            options: Options::default(),
        });
    }
    steps.sort_by(|a, b| a.group.cmp(&b.group).then_with(|| a.key.cmp(&b.key)));
    steps
}

/// Labels and annotations that are gone: in a cluster others may set them, here
/// nobody else does.
fn dropped(before: &Value, after: &Value, differences: &mut Vec<Difference>) {
    for field in ["labels", "annotations"] {
        let of =
            |value: &Value| value.pointer(&format!("/metadata/{field}")).and_then(Value::as_object).cloned();
        let (before, after) = (of(before).unwrap_or_default(), of(after).unwrap_or_default());
        for (name, value) in before.into_iter().filter(|(name, _)| !after.contains_key(name)) {
            let names = ["metadata", field, &name].map(|name| Segment::Field(name.into()));
            let path = Path(names.to_vec());
            if !differences.iter().any(|difference| difference.path == path) {
                differences.push(Difference { path, op: Op::Add, git: None, tried: Some(value) });
            }
        }
    }
}
