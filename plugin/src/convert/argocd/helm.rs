//! What Argo CD gives a chart. Out: our `helm`.

use serde_json::{Map as Object, Value, json};

use super::namespace;
use super::source::Of;
use crate::convert::field::{Field, Map, Weight};
use crate::convert::home::below;
use crate::convert::values::{merge, nested, read, typed, unescaped};
use crate::convert::{put, some};

/// Of a source; `folder`: the chart's, and whether it is that of the working tree.
pub(super) fn options(
    given: &mut Map<'_>,
    folder: Option<(&str, bool)>,
    of: &Of<'_, '_, '_>,
) -> Object<String, Value> {
    let mut ours = Object::new();
    let Some(mut theirs) = given.map("helm") else { return ours };
    let release = theirs.text("releaseName").filter(|name| name != of.resource.name());
    put(&mut ours, "releaseName", release.map(Value::from));
    put(&mut ours, "valueFiles", some(value_files(&mut theirs, folder, of)));
    let mut values = values(&mut theirs);
    let set = parameters(&mut theirs, &mut values, of);
    put(&mut ours, "values", values.as_object().is_some_and(|values| !values.is_empty()).then_some(values));
    put(&mut ours, "set", (!set.is_empty()).then(|| set.into()));
    for file in theirs.items("fileParameters") {
        file.tell(Weight::What, "files are no values here: write its content into a values file, and name that in helm.valueFiles");
    }
    if let Some(field) = theirs.take("namespace").filter(|field| field.value != namespace(of.destination)) {
        field.tell(Weight::What, "a chart is rendered for destination.namespace: make them the same");
    }
    theirs.leave(
        Weight::What,
        &[
            ("skipCrds", "a chart's definitions go along: leave them out of the chart, or keep those that are there (kubectl gitops diff shows them)"),
            ("kubeVersion", "a chart is told the version of the cluster that it goes to: write what depends on it into the values"),
            ("apiVersions", "a chart is told what the cluster that it goes to serves: write what depends on it into the values"),
        ],
    );
    theirs.leave(
        Weight::How,
        &[
            ("version", "the helm on your PATH is run: 3.14 or newer"),
            ("passCredentials", "credentials go to the host that they are for, and to no other"),
            ("skipSchemaValidation", "values have to be as the chart's schema says"),
        ],
    );
    // Tests are never run.
    theirs.pass(&["skipTests"]);
    theirs.end();
    ours
}

fn value_files(theirs: &mut Map<'_>, folder: Option<(&str, bool)>, of: &Of<'_, '_, '_>) -> Vec<String> {
    let may_be_missing = theirs.take("ignoreMissingValueFiles").filter(Field::is_said);
    let mut kept = Vec::new();
    for file in theirs.items("valueFiles") {
        let Some(text) = file.text().and_then(|text| filled(&text, &file, of)) else { continue };
        if text.contains("://") {
            file.tell(Weight::What, "values are read from repositories alone: commit the file, and name it");
            continue;
        }
        if text.contains(['*', '?']) {
            file.tell(Weight::What, "a pattern is no name of a file: name each of the files, in their order");
            continue;
        }
        let is_here = folder.is_some_and(|(_, is_seen)| is_seen) && !text.starts_with('$');
        let is_there = folder
            .and_then(|(folder, _)| below(folder, &text))
            .is_some_and(|path| of.around.home.tree.has_file(&path));
        match &may_be_missing {
            Some(_) if is_here && !is_there => {
                file.tell(Weight::How, "it is not there, and left out: name it once it is");
                continue;
            }
            Some(field) if !is_here => {
                field.tell(
                    Weight::How,
                    format!("{text} has to be there: take it out of helm.valueFiles if it is not"),
                );
            }
            _ => {}
        }
        kept.push(text);
    }
    kept
}

/// `valuesObject`, else `values`.
fn values(theirs: &mut Map<'_>) -> Value {
    let (object, text) = (theirs.take("valuesObject"), theirs.take("values"));
    if let Some(object) = object.filter(Field::is_said) {
        if let Some(text) = text.filter(Field::is_said) {
            text.tell(Weight::How, "valuesObject counts, as with Argo CD: left out");
        }
        return object.value.clone();
    }
    let Some(field) = text else { return json!({}) };
    match field.text().map(|text| read(&text)) {
        Some(Ok(values)) => values,
        Some(Err(reason)) => {
            field.tell(Weight::What, format!("it cannot be read, and is left out: {reason}"));
            json!({})
        }
        None => json!({}),
    }
}

/// `parameters`: what is not to be read as a number or truth value goes into the
/// values, everything else as helm's `--set`.
fn parameters(theirs: &mut Map<'_>, values: &mut Value, of: &Of<'_, '_, '_>) -> Object<String, Value> {
    let mut set = Object::new();
    for field in theirs.items("parameters") {
        let mut parameter = field.clone().map();
        let name = parameter.text("name");
        let value = parameter.take("value").map(|value| value.text().unwrap_or_default());
        let is_text = parameter.is("forceString");
        parameter.end();
        let Some(name) = name else {
            field.tell(Weight::What, "it names nothing: left out");
            continue;
        };
        let Some(value) = filled(&value.unwrap_or_default(), &field, of) else { continue };
        let value = unescaped(&value);
        set.remove(&name);
        if !is_text || typed(&value).is_string() && !value.starts_with('{') {
            set.insert(name, value.into());
        } else if let Some(value) = nested(&name, value.into()) {
            merge(values, value);
        } else {
            field.tell(Weight::What, format!("helm would read its value as a number or truth value: write {name} into the values, as a text in quotes"));
        }
    }
    set
}

/// A text with Argo CD's variables filled in; none, and told, where one is known
/// to Argo CD alone.
fn filled(text: &str, field: &Field<'_>, of: &Of<'_, '_, '_>) -> Option<String> {
    let mut text = text.to_owned();
    for (name, value) in
        [("ARGOCD_APP_NAMESPACE", namespace(of.destination)), ("ARGOCD_APP_NAME", of.resource.name())]
    {
        text = text.replace(&format!("${{{name}}}"), value);
        let bare = format!("${name}");
        let is_longer =
            |rest: &str| rest.starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '_');
        if text.split(&bare).skip(1).all(|rest| !is_longer(rest)) {
            text = text.replace(&bare, value);
        }
    }
    if text.contains("$ARGOCD_") || text.contains("${ARGOCD_") {
        field.tell(
            Weight::What,
            format!("{text:?} holds what Argo CD alone fills in: left out; write what it stands for"),
        );
        return None;
    }
    Some(text)
}
