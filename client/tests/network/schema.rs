//! As much of JSON Schema as the published schemas use: types, properties, required, items, references, nullable, maps.

use serde_json::Value;

/// Panics at the first place where `value` is not what `schema` says. Unknown fields are refused: they would be
/// undocumented.
pub fn check(root: &Value, schema: &Value, value: &Value, place: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#')).expect("the reference leads somewhere");
        return check(root, target, value, place);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let fits = choices.iter().any(|choice| choice["type"] != "null" || value.is_null());
        assert!(fits, "{place}: none of the choices");
        return;
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => return,
    };
    let actual = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_u64() || number.is_i64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits = types.contains(&actual) || (actual == "integer" && types.contains(&"number"));
    assert!(fits, "{place}: {actual} instead of {types:?}");
    if let Some(items) = value.as_array() {
        for (index, item) in items.iter().enumerate() {
            check(root, &schema["items"], item, &format!("{place}[{index}]"));
        }
    }
    if let Some(fields) = value.as_object() {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            assert!(fields.contains_key(name), "{place}: {name} is missing");
        }
        for (name, field) in fields {
            let named = &schema["additionalProperties"];
            let known = schema["properties"].get(name).or_else(|| named.is_object().then_some(named));
            let known = known.unwrap_or_else(|| panic!("{place}: {name} is not in the schema"));
            check(root, known, field, &format!("{place}.{name}"));
        }
    }
}

/// Every required field of the published schema is there, and no field that it does not know.
pub fn validate(name: &str, value: &Value) {
    let path = format!("{}/../docs/schema/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let schema: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    check(&schema, &schema, value, name);
}
