//! YAML in the order in which it is written, which SOPS' authentication code
//! depends on. In: a file's text. Out: its documents as ordered trees.

use granit_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

use crate::error::SourceError;
use crate::yaml;

/// A value whose fields keep their order.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Map(Vec<(String, Node)>),
    List(Vec<Node>),
    Leaf(Value),
}

impl Node {
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        let Self::Map(fields) = self else { return None };
        fields.iter().find(|(key, _)| key == name).map(|(_, node)| node)
    }

    pub(super) fn value(&self) -> Value {
        match self {
            Self::Map(fields) => {
                fields.iter().map(|(key, node)| (key.clone(), node.value())).collect::<Map<_, _>>().into()
            }
            Self::List(items) => items.iter().map(Self::value).collect(),
            Self::Leaf(value) => value.clone(),
        }
    }
}

/// The documents that are not empty.
pub(super) fn documents(file: &str, text: &str) -> Result<Vec<Node>, SourceError> {
    // The usual reader finds mistakes and bounds the size.
    let read = yaml::documents(file, text)?;
    let mut orders = Orders { events: Parser::new_from_str(text) };
    let mut documents = Vec::with_capacity(read.len());
    while let Some(order) = orders.document() {
        let order = order.ok_or_else(|| super::bad(file, "it has anchors, which SOPS files do not"))?;
        if !matches!(order, Order::Leaf(true)) {
            documents.push(order);
        }
    }
    if documents.len() != read.len() {
        return Err(super::bad(file, "its documents cannot be told apart"));
    }
    Ok(read.into_iter().zip(documents).map(|(document, order)| arrange(document.value, order)).collect())
}

/// The names of fields in their order.
enum Order {
    Map(Vec<(String, Order)>),
    List(Vec<Order>),
    /// Whether it is nothing.
    Leaf(bool),
}

fn arrange(value: Value, order: Order) -> Node {
    match (value, order) {
        (Value::Object(mut map), Order::Map(fields)) => Node::Map(
            fields
                .into_iter()
                .filter_map(|(key, order)| map.remove(&key).map(|value| (key, arrange(value, order))))
                .collect(),
        ),
        (Value::Array(items), Order::List(orders)) => {
            Node::List(items.into_iter().zip(orders).map(|(value, order)| arrange(value, order)).collect())
        }
        (value, _) => Node::Leaf(value),
    }
}

struct Orders<'a> {
    events: Parser<'a, granit_parser::StrInput<'a>>,
}

impl<'a> Orders<'a> {
    fn next(&mut self) -> Option<Event<'a>> {
        loop {
            match self.events.next()?.ok()?.0 {
                Event::Comment(..) | Event::Anchor(..) => {}
                event => return Some(event),
            }
        }
    }

    /// The next document; inside, none when it cannot be read.
    fn document(&mut self) -> Option<Option<Order>> {
        loop {
            match self.next()? {
                Event::DocumentStart(..) => {
                    let first = self.next()?;
                    return Some(self.node(first));
                }
                Event::StreamEnd => return None,
                _ => {}
            }
        }
    }

    /// As deep as the usual reader went, which bounds it.
    fn node(&mut self, event: Event<'a>) -> Option<Order> {
        match event {
            Event::Scalar(text, style, ..) => {
                let plain = matches!(style, ScalarStyle::Plain);
                Some(Order::Leaf(plain && matches!(&*text, "" | "~" | "null")))
            }
            Event::SequenceStart(..) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => return Some(Order::List(items)),
                        event => items.push(self.node(event)?),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut fields = Vec::new();
                loop {
                    match self.next()? {
                        Event::MappingEnd => return Some(Order::Map(fields)),
                        Event::Scalar(key, ..) => {
                            let event = self.next()?;
                            fields.push((key.to_string(), self.node(event)?));
                        }
                        _ => return None,
                    }
                }
            }
            _ => None,
        }
    }
}
