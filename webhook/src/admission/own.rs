//! What the rules about our own kinds ask: whether who writes has a verb, what a
//! request asks for, and whether an Application can be read.

use gitops_core::names::GROUP;
use gitops_core::verdict::{Asked, Operation, request_of};
use gitops_engine::spec;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Api;
use kube::api::PostParams;
use serde_json::Value;

use super::validate::Case;

impl Case<'_> {
    /// What of an Application cannot be read, unless it could not be before. Of what
    /// the schema allows, that is.
    pub(super) fn mistake(&self) -> Option<String> {
        let is_spec = self.request.sub_resource.is_empty() && self.operation != Operation::Delete;
        if self.gvk.group != GROUP || self.gvk.kind != "Application" || !is_spec {
            return None;
        }
        let spec_of = |object: &Option<Value>| object.as_ref().and_then(|object| object.get("spec").cloned());
        if spec_of(&self.request.object) == spec_of(&self.request.old_object) {
            return None;
        }
        let told = |object: Option<&Value>| {
            let application = serde_json::from_value(object?.clone()).ok()?;
            spec::mistake_of(&application, jiff::Timestamp::now())
        };
        told(self.request.object.as_ref())
            .filter(|now| told(self.request.old_object.as_ref()).as_ref() != Some(now))
    }

    /// What there is to know of the request that is new, changed or withdrawn.
    pub(super) async fn asked(&self) -> Asked {
        let new = request_of(self.request.object.as_ref());
        let text = new.or_else(|| request_of(self.request.old_object.as_ref())).unwrap_or_default();
        let permission = match gitops_api::Request::parse(text) {
            Ok(asked) => asked.verb.permission(&self.request.kind.kind),
            // What is no request can be taken away.
            Err(_) if new.is_none() => return Asked::Permitted,
            Err(error) => return Asked::Unreadable(error.to_string()),
        };
        if self.may(permission, self.request.resource.resource.clone()).await {
            Asked::Permitted
        } else {
            Asked::Forbidden(permission.to_owned())
        }
    }

    /// Whether the writer has this verb on this object of ours.
    pub(super) async fn may(&self, verb: &str, plural: String) -> bool {
        let user = &self.request.user_info;
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some(user.username.clone()),
                uid: Some(user.uid.clone()),
                groups: Some(user.groups.clone()),
                extra: Some(user.extra.clone()),
                resource_attributes: Some(ResourceAttributes {
                    group: Some(GROUP.into()),
                    resource: Some(plural),
                    verb: Some(verb.into()),
                    namespace: Some(self.key.namespace.clone()),
                    name: Some(self.key.name.clone()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let reviews: Api<SubjectAccessReview> = Api::all(self.keeper.cluster.client());
        match reviews.create(&PostParams::default(), &review).await {
            Ok(answer) => answer.status.is_some_and(|status| status.allowed),
            Err(error) => {
                tracing::warn!(%error, verb, "whether a user has this verb is not known, so they have not");
                false
            }
        }
    }
}
