//! Every template of docs/analysis.md can be used.

use std::path::Path;

use gitops_api::rollout::RolloutSpec;
use gitops_engine::analysis::{Metrics, Templates, read_template};
use serde_json::json;

#[test]
fn templates_of_the_page_are_read() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/analysis.md");
    let text = std::fs::read_to_string(file).unwrap();
    let mut names = Vec::new();
    for block in text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()) {
        for document in gitops_source::yaml::documents("docs/analysis.md", block).unwrap() {
            let template = document.value;
            if template["kind"] != "AnalysisTemplate" {
                continue;
            }
            let name = template["metadata"]["name"].as_str().unwrap().to_owned();
            let args =
                if name == "requests" { json!([{"name": "service", "value": "web"}]) } else { json!([]) };
            let rollout: RolloutSpec = serde_json::from_value(json!({
                "target": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "strategy": {"recreate": {}},
                "analysis": {"templates": [{"name": name, "args": args}]}}))
            .unwrap();
            let templates = Templates::from([(name.clone(), read_template(&name, &template))]);
            let metrics = Metrics::new(&rollout, "shop", "web", &templates);
            let spec = rollout.to_core("shop", &|reference| metrics.rules(reference));
            assert_eq!(spec.map(|spec| spec.analysis.len()), Ok(1), "{name}");
            names.push(name);
        }
    }
    assert_eq!(names, ["requests", "latency", "guarded", "smoke", "pods"]);
}
