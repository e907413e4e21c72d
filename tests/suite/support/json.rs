//! Small readers of JSON answers.

use serde_json::Value;

/// The text at `pointer`.
#[track_caller]
pub fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    match value.pointer(pointer).and_then(Value::as_str) {
        Some(text) => text,
        None => panic!("no text at {pointer} in {value}"),
    }
}

/// The `id` of a resource.
#[track_caller]
pub fn id_of(value: &Value) -> String {
    text(value, "/id").to_owned()
}

/// The items of a list.
#[track_caller]
pub fn items(value: &Value) -> &Vec<Value> {
    match value["items"].as_array() {
        Some(items) => items,
        None => panic!("no list: {value}"),
    }
}
