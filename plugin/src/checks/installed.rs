//! What the chart brings: definitions, webhook, its certificate and
//! configurations, the guard.

use gitops_cluster::{ErrorKind, Kind};
use gitops_core::health::{Health, health};
use gitops_core::names::{GROUP, SYSTEM_NAMESPACE};
use gitops_core::object::{Gvk, ObjectKey};
use serde_json::Value;

use super::{Check, Finding};
use crate::applications::Destination;

const SECTION: &str = "installation";
/// Names that the chart gives.
const WEBHOOK: &str = "gitops-webhook";
const CONTROLLER: &str = "gitops-controller";
const CONFIGURATION: &str = "gitops";
const GUARD: &str = "gitops-guard";
/// A Secret's certificate is renewed long before its end.
const SOON: i64 = 7 * 86_400;

const INSTALL: &str = "helm install gitops charts/gitops --namespace gitops-system --create-namespace --wait";
const UPGRADE: &str = "helm upgrade gitops charts/gitops --namespace gitops-system --wait";

/// What stands in the way of an installation.
pub async fn room_to_install(destination: &Destination) -> Vec<Check> {
    let there = match object(
        destination,
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        "",
        &plural("applications"),
    )
    .await
    {
        Ok(None) => Finding::passed("not yet"),
        Ok(Some(_)) => {
            Finding::warned("the definitions are there already", "upgrade instead: ".to_owned() + UPGRADE)
        }
        Err(finding) => finding,
    };
    let policies = Gvk::new("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy");
    let guard = match destination.discovery.kind(&policies) {
        Some(_) => Finding::passed(""),
        None => Finding::failed(
            "ValidatingAdmissionPolicy is not served",
            "use Kubernetes 1.30 or newer, or install with guard.enabled=false",
        ),
    };
    vec![
        Check::new(SECTION, "it is not installed", there),
        Check::new(SECTION, "the API server can guard it", guard),
    ]
}

/// What is installed, and whether it works. Where nothing is, that is told once:
/// the plugin works without.
pub async fn installed(destination: &Destination) -> Vec<Check> {
    let mut checks = definitions(destination).await;
    if checks.is_empty() {
        let finding = Finding::warned(
            "nothing is: sync works, but nobody is kept from changing what it writes",
            INSTALL,
        );
        return vec![Check::new(SECTION, "what is in Git is enforced", finding)];
    }
    checks.push(Check::new(SECTION, "the webhook is ready", deployment(destination, WEBHOOK).await));
    checks.push(Check::new(SECTION, "the controller is ready", controller(destination).await));
    checks.push(Check::new(SECTION, "its certificate is valid", certificate(destination).await));
    for kind in ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"] {
        checks.push(Check::new(
            SECTION,
            format!("its {kind} is whole"),
            configuration(destination, kind).await,
        ));
    }
    checks.push(Check::new(SECTION, "the guard is in force", guard(destination).await));
    checks
}

fn plural(name: &str) -> String {
    format!("{name}.{GROUP}")
}

/// An object of a kind that is served; none where it or its kind is not.
async fn object(
    destination: &Destination,
    api_version: &str,
    kind: &str,
    namespace: &str,
    name: &str,
) -> Result<Option<Value>, Finding> {
    let gvk = Gvk::new(api_version, kind);
    let Some(served): Option<&Kind> = destination.discovery.kind(&gvk) else { return Ok(None) };
    let key = ObjectKey {
        group: gvk.group.clone(),
        kind: kind.into(),
        namespace: namespace.into(),
        name: name.into(),
    };
    destination.cluster.get(served, &key).await.map_err(|error| match error.kind() {
        ErrorKind::Forbidden => Finding::warned(
            error.to_string(),
            "ask somebody who may see it, or have the role view bound to you",
        ),
        _ => Finding::of(&error.into()),
    })
}

/// Each definition of this version of the plugin: there, established, and the
/// same.
async fn definitions(destination: &Destination) -> Vec<Check> {
    let (mut checks, mut there) = (Vec::new(), 0);
    for wanted in gitops_api::crds() {
        let name = wanted.metadata.name.clone().unwrap_or_default();
        let found =
            object(destination, "apiextensions.k8s.io/v1", "CustomResourceDefinition", "", &name).await;
        let finding = match found {
            Err(finding) => {
                there += 1;
                finding
            }
            Ok(None) => Finding::failed("it is not there", UPGRADE),
            Ok(Some(live)) => {
                there += 1;
                let state = health(&live);
                let want = serde_json::to_value(&wanted).unwrap_or_default();
                if state.health != Health::Healthy {
                    Finding::failed(state.message, format!("kubectl describe crd {name}"))
                } else if fields(&live) != fields(&want) {
                    Finding::warned("it is of another version than this plugin", UPGRADE)
                } else {
                    Finding::passed("")
                }
            }
        };
        checks.push(Check::new(SECTION, format!("definition {name}"), finding));
    }
    if there == 0 { Vec::new() } else { checks }
}

/// The names of a definition's fields; what the API server adds to schemas is
/// none of them.
fn fields(definition: &Value) -> Vec<String> {
    fn walk(schema: &Value, path: &str, found: &mut Vec<String>) {
        for (name, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let path = format!("{path}.{name}");
            found.push(path.clone());
            walk(inner, &path, found);
        }
        if let Some(items) = schema.get("items") {
            walk(items, &format!("{path}[]"), found);
        }
    }
    let mut found = Vec::new();
    for version in definition.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten() {
        let schema = version.pointer("/schema/openAPIV3Schema/properties/spec").unwrap_or(&Value::Null);
        walk(schema, version.get("name").and_then(Value::as_str).unwrap_or_default(), &mut found);
    }
    found.sort();
    found
}

/// The controller, which a cluster may do without.
async fn controller(destination: &Destination) -> Finding {
    match object(destination, "apps/v1", "Deployment", SYSTEM_NAMESPACE, CONTROLLER).await {
        Ok(None) => Finding::warned(
            "there is none: nothing is synced unless somebody does",
            "install with controller.enabled=true",
        ),
        _ => deployment(destination, CONTROLLER).await,
    }
}

async fn deployment(destination: &Destination, name: &str) -> Finding {
    let logs = format!("kubectl logs -n {SYSTEM_NAMESPACE} deployment/{name}");
    match object(destination, "apps/v1", "Deployment", SYSTEM_NAMESPACE, name).await {
        Err(finding) => finding,
        Ok(None) => Finding::failed(format!("there is no Deployment {SYSTEM_NAMESPACE}/{name}"), INSTALL),
        Ok(Some(live)) => {
            let state = health(&live);
            if state.health == Health::Healthy {
                Finding::passed(state.message)
            } else {
                Finding::failed(
                    state.message,
                    format!("kubectl describe pods -n {SYSTEM_NAMESPACE}, and {logs}"),
                )
            }
        }
    }
}

/// By the certificate that the API server is told to trust: the Secret with the
/// key is nobody's business.
async fn certificate(destination: &Destination) -> Finding {
    let found = object(
        destination,
        "admissionregistration.k8s.io/v1",
        "ValidatingWebhookConfiguration",
        "",
        CONFIGURATION,
    )
    .await;
    let live = match found {
        Err(finding) => return finding,
        Ok(None) => return Finding::failed("there is no configuration that names it", INSTALL),
        Ok(Some(live)) => live,
    };
    let bundle =
        live.pointer("/webhooks/0/clientConfig/caBundle").and_then(Value::as_str).unwrap_or_default();
    let Some(end) = not_after(bundle) else {
        return Finding::failed(
            "the API server is told to trust no certificate yet",
            format!("kubectl logs -n {SYSTEM_NAMESPACE} deployment/{WEBHOOK}"),
        );
    };
    let left = end - jiff::Timestamp::now().as_second();
    let restart = format!("kubectl rollout restart -n {SYSTEM_NAMESPACE} deployment/{WEBHOOK}");
    match left {
        ..=0 => Finding::failed("it has ended", restart),
        1..SOON => Finding::warned(format!("it ends in {} hours", left / 3600), restart),
        _ => Finding::passed(format!("for {} more days", left / 86_400)),
    }
}

/// When the first certificate of a bundle ends, in seconds since 1970.
fn not_after(bundle: &str) -> Option<i64> {
    let bytes: k8s_openapi::ByteString = serde_json::from_value(bundle.into()).ok()?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(&bytes.0).ok()?;
    Some(pem.parse_x509().ok()?.validity().not_after.timestamp())
}

async fn configuration(destination: &Destination, kind: &str) -> Finding {
    let live = match object(destination, "admissionregistration.k8s.io/v1", kind, "", CONFIGURATION).await {
        Err(finding) => return finding,
        Ok(None) => return Finding::failed(format!("there is no {kind} {CONFIGURATION}"), UPGRADE),
        Ok(Some(live)) => live,
    };
    let hooks = live.get("webhooks").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let rules = hooks.iter().filter_map(|hook| hook.get("rules")?.as_array()).map(Vec::len).sum::<usize>();
    let open = hooks.iter().find(|hook| {
        kind.starts_with("Validating") && hook.get("failurePolicy").and_then(Value::as_str) == Some("Ignore")
    });
    if let Some(hook) = open {
        let name = hook.get("name").and_then(Value::as_str).unwrap_or_default();
        return Finding::failed(format!("{name} lets everything pass while the webhook is away"), UPGRADE);
    }
    if rules == 0 {
        return Finding::warned(
            "it asks about nothing: no Application is enforced",
            "kubectl get applications -A says why (ENFORCED)",
        );
    }
    Finding::passed(format!("{rules} rules"))
}

async fn guard(destination: &Destination) -> Finding {
    let version = "admissionregistration.k8s.io/v1";
    let policy = object(destination, version, "ValidatingAdmissionPolicy", "", GUARD).await;
    let binding = object(destination, version, "ValidatingAdmissionPolicyBinding", "", GUARD).await;
    match (policy, binding) {
        (Err(finding), _) | (_, Err(finding)) => finding,
        (Ok(None), _) => Finding::warned(
            "whoever may change webhook configurations can switch the webhook off",
            "install with guard.enabled=true",
        ),
        (Ok(Some(_)), Ok(None)) => Finding::failed("its binding is gone, so it binds nobody", UPGRADE),
        (Ok(Some(policy)), Ok(Some(binding))) => {
            let denies = binding.pointer("/spec/validationActions").and_then(Value::as_array);
            if !denies.is_some_and(|actions| actions.iter().any(|action| action == "Deny")) {
                return Finding::failed("its binding does not deny", UPGRADE);
            }
            let state = health(&policy);
            if state.health == Health::Healthy {
                Finding::passed("")
            } else {
                Finding::warned(state.message, UPGRADE)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn definitions_are_compared_by_their_fields() {
        let of = |properties: Value| json!({"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": {"properties": {"spec": {"properties": properties}}}}}]}});
        let one =
            of(json!({"a": {"type": "string"}, "b": {"type": "array", "items": {"properties": {"c": {}}}}}));
        assert_eq!(fields(&one), ["v1.a", "v1.b", "v1.b[].c"]);
        assert_eq!(
            fields(&one),
            fields(&of(json!({"b": {"items": {"properties": {"c": {"default": 1}}}}, "a": {}})))
        );
        assert_ne!(fields(&one), fields(&of(json!({"a": {}}))));
    }

    #[test]
    fn a_bundle_that_is_none_has_no_end() {
        assert_eq!(not_after(""), None);
        assert_eq!(not_after("bm9uZQ=="), None);
    }
}
