//! Schemas that cannot be derived: quantities, and bounded maps.
//!
//! `Quantity` brings two kilobytes of description along, and an unbounded map breaks the cost limit
//! of every rule near it. Nothing here decides what a value means.

use schemars::{Schema, SchemaGenerator, json_schema};

/// The longest key or value of a label, annotation key or selector.
const LABEL_KEY_LENGTH_MAX: usize = 316;
/// The longest value of an annotation people may pass on to pods.
const ANNOTATION_VALUE_LENGTH_MAX: usize = 4096;
/// The longest quantity, such as `1Gi`.
const QUANTITY_LENGTH_MAX: usize = 32;
/// The most entries of a map.
const MAP_ENTRIES_MAX: usize = 32;

/// A quantity written as text, such as `10Gi`.
pub(crate) fn quantity_text(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": QUANTITY_LENGTH_MAX,
    })
}

/// Quantities by resource name; whole numbers may be written without quotes.
pub(crate) fn quantity_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": MAP_ENTRIES_MAX,
        "additionalProperties": {
            "x-kubernetes-int-or-string": true,
            "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|e[0-9]+|E[0-9]+)?$",
        },
    })
}

/// Labels: values of at most 63 characters.
pub(crate) fn label_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": MAP_ENTRIES_MAX,
        "additionalProperties": { "type": "string", "maxLength": 63 },
    })
}

/// Annotations.
pub(crate) fn annotation_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": MAP_ENTRIES_MAX,
        "additionalProperties": { "type": "string", "maxLength": ANNOTATION_VALUE_LENGTH_MAX },
    })
}

/// Tolerations as a pod has them.
pub(crate) fn tolerations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": MAP_ENTRIES_MAX,
        "x-kubernetes-list-type": "atomic",
        "items": {
            "type": "object",
            "properties": {
                "key": { "type": "string", "maxLength": LABEL_KEY_LENGTH_MAX },
                "operator": { "type": "string", "enum": ["Exists", "Equal"] },
                "value": { "type": "string", "maxLength": 63 },
                "effect": {
                    "type": "string",
                    "enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"],
                },
                "tolerationSeconds": { "type": "integer", "format": "int64" },
            },
        },
    })
}
