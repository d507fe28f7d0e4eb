//! Health of a kind as Flux asks for it: up to three expressions in which an
//! object's fields are variables. Out: one of ours, in which it is `self`.

/// What an expression of Flux may name of an object.
const FIELDS: [&str; 6] = ["apiVersion", "kind", "metadata", "spec", "status", "data"];

/// `in_progress` is asked first, then `failed`, then `current`, as Flux does.
pub fn joined(current: &str, in_progress: Option<&str>, failed: Option<&str>) -> String {
    let mut text = String::new();
    for (expression, health) in [(in_progress, "Progressing"), (failed, "Degraded")] {
        if let Some(expression) = expression {
            text.push_str(&format!("({}) ? '{health}' : ", of_self(expression)));
        }
    }
    format!("{text}({}) ? 'Healthy' : 'Progressing'", of_self(current))
}

/// Puts `self.` before an object's fields, but for those of other values and
/// what stands in quotes.
fn of_self(expression: &str) -> String {
    let (mut text, mut rest) = (String::new(), expression.trim());
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' | '\'' => quoted(rest, first),
            _ if is_name(first) => rest.find(|letter| !is_name(letter)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (word, after) = rest.split_at(length);
        // `.status` is another value's, `status:` a key, `status(` a function.
        let is_free = !text.trim_end().ends_with('.') && !after.trim_start().starts_with([':', '(']);
        if is_free && FIELDS.contains(&word) {
            text.push_str("self.");
        }
        text.push_str(word);
        rest = after;
    }
    text
}

fn is_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// The length of a text in quotes.
fn quoted(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            letter if letter == quote => return at + letter.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use gitops_api::application::HealthRule;
    use gitops_engine::Rules;
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_become_those_of_self() {
        for (flux, ours) in [
            ("status.phase == 'status.x'", "self.status.phase == 'status.x'"),
            (
                "has(status.conditions) && status.conditions.exists(e, e.status == \"data\\\"kind\")",
                "has(self.status.conditions) && self.status.conditions.exists(e, e.status == \"data\\\"kind\")",
            ),
            (
                "metadata.generation == status.observedGeneration",
                "self.metadata.generation == self.status.observedGeneration",
            ),
        ] {
            assert_eq!(of_self(flux), ours);
        }
    }

    #[test]
    fn the_joined_rule_judges_as_the_three_do() {
        let cel = joined(
            "status.conditions.filter(e, e.type == 'Ready').all(e, e.status == 'True')",
            Some("!has(status.conditions)"),
            Some("status.conditions.exists(e, e.type == 'Ready' && e.status == 'False')"),
        );
        let rule = HealthRule { group: "ex.io".into(), kind: "Db".into(), cel };
        let rules = Rules::compile("f", "spec.health", &[rule]).unwrap();
        let health = |status: serde_json::Value| {
            let object =
                json!({"apiVersion": "ex.io/v1", "kind": "Db", "metadata": {"name": "a"}, "status": status});
            format!("{:?}", rules.health(&object).health)
        };
        assert_eq!(health(json!({})), "Progressing");
        let ready = |status: &str| json!({"conditions": [{"type": "Ready", "status": status}]});
        assert_eq!(health(ready("False")), "Degraded");
        assert_eq!(health(ready("True")), "Healthy");
    }
}
