//! CEL expressions that come from a repository. In: an expression and the
//! variables it may use; their values. Out: what it says. Bounded in length, in
//! loops and in time: one that took too long is not asked again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use cel::common::ast::{EntryExpr, Expr};
use cel::{Context, IdedExpr, Program, Value as Cel};
use serde_json::Value;

/// Bytes of an expression, as the definitions allow.
const MAX_LENGTH: usize = 4096;
/// Loops (`all`, `exists`, `filter`, `map`) in one expression, and inside of
/// each other.
const MAX_LOOPS: usize = 8;
const MAX_NESTED: u32 = 2;
/// Steps that loops over the longest list may take.
const MAX_STEPS: usize = 1_000_000;
/// What goes through a list or a pattern each time it is asked, as a loop does.
const SEARCHES: [&str; 2] = ["@in", "matches"];
/// Brackets inside of each other.
const MAX_BRACKETS: usize = 32;
const TIME: Duration = Duration::from_millis(250);
/// The parser goes down once for every sign of a chain such as `!!!!a`; memory
/// is only used as far as it really goes.
const STACK: usize = 256 << 20;

/// A compiled expression.
pub struct Expression {
    program: Program,
    nested: u32,
    too_slow: AtomicBool,
    variables: Vec<String>,
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Expression of {}", self.variables.join(", "))
    }
}

impl Expression {
    /// Compiles an expression that may use these variables.
    ///
    /// # Errors
    /// Why it is none, or too large.
    pub fn compile(source: &str, known: &[&str]) -> Result<Arc<Self>, String> {
        if source.len() > MAX_LENGTH {
            return Err(format!("the expression has {} bytes, more than {MAX_LENGTH}", source.len()));
        }
        let program = parsed(source)?;
        let mut loops = Loops::default();
        loops.count(program.expression(), 0);
        if loops.all > MAX_LOOPS || loops.nested > MAX_NESTED {
            return Err(format!(
                "it has {} loops, {} inside of each other: at most {MAX_LOOPS} and {MAX_NESTED} are allowed",
                loops.all, loops.nested
            ));
        }
        if loops.adds {
            return Err("it adds inside of a loop: what could grow without end is not allowed there".into());
        }
        let references = program.references();
        let used = references
            .variables()
            .into_iter()
            .filter(|name| !name.starts_with('@') && !loops.names.iter().any(|known| known == name));
        let variables: Vec<String> = used.map(str::to_owned).collect();
        if let Some(name) = variables.iter().find(|name| !known.contains(&name.as_str())) {
            let there = match known {
                ["self"] => "the object is `self`".to_owned(),
                all => format!("there are: {}", all.join(", ")),
            };
            return Err(format!("there is no {name:?}; {there}"));
        }
        drop(references);
        Ok(Arc::new(Self { program, nested: loops.nested, too_slow: AtomicBool::new(false), variables }))
    }

    /// Whether it uses a variable.
    pub fn uses(&self, variable: &str) -> bool {
        self.variables.iter().any(|used| used == variable)
    }

    /// What it says for these values; blocks for a quarter of a second at most.
    ///
    /// # Errors
    /// Why it says nothing.
    pub fn evaluate(self: &Arc<Self>, values: &[(&str, Value)]) -> Result<Cel, String> {
        let longest = values.iter().map(|(_, value)| longest(value)).max().unwrap_or(0);
        let steps = longest.max(MAX_LENGTH / 2).saturating_pow(self.nested);
        if steps > MAX_STEPS.max((MAX_LENGTH / 2).pow(self.nested)) {
            return Err("the object's lists are too long for its loops".into());
        }
        let too_slow = || format!("no answer within {} ms", TIME.as_millis());
        if self.too_slow.load(Ordering::Relaxed) {
            return Err(too_slow());
        }
        let (done, answer) = channel();
        let (work, values) =
            (self.clone(), values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let values: Vec<(String, Value)> = values.collect();
        // A thread of its own: an evaluation cannot be interrupted from inside.
        let evaluate = move || {
            let mut context = Context::default();
            for (name, value) in &values {
                context.add_variable_from_value(name.as_str(), convert(value));
            }
            let result = work.program.execute(&context);
            let _ = done.send(result.map_err(|error| shortened(&error.to_string())));
        };
        std::thread::Builder::new().stack_size(STACK).spawn(evaluate).map_err(|error| error.to_string())?;
        answer.recv_timeout(TIME).unwrap_or_else(|_| {
            self.too_slow.store(true, Ordering::Relaxed);
            Err(too_slow())
        })
    }
}

fn parsed(source: &str) -> Result<Program, String> {
    let (mut depth, mut deepest) = (0_usize, 0);
    for sign in source.chars() {
        match sign {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    if deepest > MAX_BRACKETS {
        return Err(format!("{deepest} brackets inside of each other: at most {MAX_BRACKETS} are allowed"));
    }
    let source = source.to_owned();
    let parse = move || {
        Program::compile(&source).map_err(|errors| {
            let first = errors.errors.first();
            first.map_or_else(
                || "it is no CEL expression".to_owned(),
                |error| format!("line {}, column {}: {}", error.pos.0, error.pos.1, error.msg),
            )
        })
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(parse).map_err(|e| e.to_string())?;
    thread.join().unwrap_or_else(|_| Err("it is no CEL expression".into()))
}

/// What an expression's loops look like.
#[derive(Default)]
struct Loops {
    all: usize,
    nested: u32,
    /// Something other than a loop's own result grows in a loop.
    adds: bool,
    names: Vec<String>,
}

impl Loops {
    fn count(&mut self, expression: &IdedExpr, depth: u32) {
        match &expression.expr {
            Expr::Call(call) => {
                let own =
                    |first: &IdedExpr| matches!(&first.expr, Expr::Ident(name) if name.starts_with('@'));
                let written = call.args.last().is_some_and(|last| {
                    call.func_name == "@in" && matches!(&last.expr, Expr::List(_) | Expr::Map(_))
                });
                if depth > 0 && SEARCHES.contains(&call.func_name.as_str()) && !written {
                    self.nested = self.nested.max(depth + 1);
                }
                self.adds |= depth > 0 && call.func_name == "_+_" && !call.args.first().is_some_and(own);
                call.target.iter().for_each(|target| self.count(target, depth));
                call.args.iter().for_each(|argument| self.count(argument, depth));
            }
            Expr::Comprehension(inner) => {
                self.all += 1;
                self.nested = self.nested.max(depth + 1);
                self.names.push(inner.iter_var.clone());
                self.names.extend(inner.iter_var2.clone());
                self.names.push(inner.accu_var.clone());
                [&inner.iter_range, &inner.accu_init].into_iter().for_each(|part| self.count(part, depth));
                [&inner.loop_cond, &inner.loop_step, &inner.result]
                    .into_iter()
                    .for_each(|part| self.count(part, depth + 1));
            }
            Expr::List(list) => list.elements.iter().for_each(|element| self.count(element, depth)),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.entry(&entry.expr, depth)),
            Expr::Struct(fields) => fields.entries.iter().for_each(|entry| self.entry(&entry.expr, depth)),
            Expr::Select(select) => self.count(&select.operand, depth),
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
        }
    }

    fn entry(&mut self, entry: &EntryExpr, depth: u32) {
        match entry {
            EntryExpr::StructField(field) => self.count(&field.value, depth),
            EntryExpr::MapEntry(entry) => {
                self.count(&entry.key, depth);
                self.count(&entry.value, depth);
            }
        }
    }
}

/// The crate's own words may hold a whole object.
fn shortened(error: &str) -> String {
    let line: String = error.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect();
    if line.starts_with("No such key") { format!("{line}; ask with has() first") } else { line }
}

fn longest(value: &Value) -> usize {
    match value {
        Value::Array(list) => list.iter().map(longest).max().unwrap_or(0).max(list.len()),
        Value::Object(map) => map.values().map(longest).max().unwrap_or(0).max(map.len()),
        _ => 0,
    }
}

/// Whole numbers are `int`, as in Kubernetes' own CEL.
fn convert(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(flag) => Cel::Bool(*flag),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Cel::Int(whole),
            (None, float) => Cel::Float(float.unwrap_or(f64::NAN)),
        },
        Value::String(text) => Cel::from(text.as_str()),
        Value::Array(list) => Cel::from(list.iter().map(convert).collect::<Vec<_>>()),
        Value::Object(map) => Cel::from(
            map.iter()
                .map(|(key, value)| (key.clone(), convert(value)))
                .collect::<std::collections::HashMap<String, Cel>>(),
        ),
    }
}
