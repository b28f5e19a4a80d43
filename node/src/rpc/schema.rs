//! Schema of methods and types: an OpenRPC document that is made from the types themselves.

use crate::query::AccountProof;
use core::net::SocketAddr;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Types by name, which schemas refer to.
pub(super) type Types = BTreeMap<&'static str, Value>;

/// Type with a JSON schema.
pub(super) trait Schema {
    /// Returns its schema; named types that it refers to are added to `types`.
    fn schema(types: &mut Types) -> Value;
}

/// Field of a record.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    pub(super) is_required: bool,
    pub(super) schema: Value,
}

/// Returns documentation as one line.
pub(super) fn one_line(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns the JSON name of a field: that of `rename` in its serde attributes, or its own.
pub(super) fn json_name(field: &'static str, attributes: &'static str) -> &'static str {
    let renamed = attributes.split_once("rename = \"");
    let renamed = renamed.and_then(|(_, rest)| rest.split_once('"'));
    renamed.map_or(field, |(name, _)| name)
}

/// Returns the schema of an object, without a name.
pub(super) fn object(doc: &str, fields: Vec<Field>) -> Value {
    let required = fields.iter().filter(|field| field.is_required);
    let required: Vec<&str> = required.map(|field| field.name).collect();
    let properties = fields.into_iter().map(|field| {
        let mut schema = field.schema;
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("description".to_owned(), one_line(field.doc).into());
        }
        (field.name.to_owned(), schema)
    });
    json!({
        "type": "object",
        "description": one_line(doc),
        "properties": properties.collect::<Map<_, _>>(),
        "required": required,
        "additionalProperties": false,
    })
}

/// Adds the schema of a named type unless it is there; returns the reference to it.
pub(super) fn named(
    types: &mut Types,
    name: &'static str,
    make: impl FnOnce(&mut Types) -> Value,
) -> Value {
    if !types.contains_key(name) {
        // Ends a recursion of types.
        types.insert(name, Value::Null);
        let schema = make(types);
        types.insert(name, schema);
    }
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// Defines a structure that is encoded as a JSON object, with its schema.
macro_rules! record {
    (
        $(#[doc = $doc:literal])+
        $(#[derive($($derived:ident),+)])?
        pub struct $name:ident {
            $(
                $(#[doc = $field_doc:literal])+
                $(#[serde($($attribute:tt)*)])?
                pub $field:ident: $type:ty,
            )+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
        $(#[derive($($derived),+)])?
        pub struct $name {
            $(
                $(#[doc = $field_doc])+
                $(#[serde($($attribute)*)])?
                pub $field: $type,
            )+
        }

        impl $crate::rpc::schema::Schema for $name {
            fn schema(types: &mut $crate::rpc::schema::Types) -> serde_json::Value {
                $crate::rpc::schema::named(types, stringify!($name), |types| {
                    let fields = vec![$($crate::rpc::schema::Field {
                        name: $crate::rpc::schema::json_name(
                            stringify!($field),
                            concat!($(stringify!($($attribute)*))?),
                        ),
                        doc: concat!($($field_doc),+),
                        is_required: !concat!($(stringify!($($attribute)*))?).contains("default"),
                        schema: <$type as $crate::rpc::schema::Schema>::schema(types),
                    }),+];
                    $crate::rpc::schema::object(concat!($($doc),+), fields)
                })
            }
        }
    };
}
pub(super) use record;

/// Implements [`Schema`] for a structure of a lower module, whose `serde` derive defines its JSON
/// form. A field that is missing here, or of another type, does not compile.
macro_rules! schema_of {
    (
        $(#[doc = $doc:literal])+
        $name:ident { $($(#[doc = $field_doc:literal])+ $field:ident: $type:ty,)+ }
    ) => {
        impl $crate::rpc::schema::Schema for $name {
            fn schema(types: &mut $crate::rpc::schema::Types) -> serde_json::Value {
                let _ = |value: Self| {
                    let Self { $($field),+ } = value;
                    $(let _: $type = $field;)+
                };
                $crate::rpc::schema::named(types, stringify!($name), |types| {
                    let fields = vec![$($crate::rpc::schema::Field {
                        name: stringify!($field),
                        doc: concat!($($field_doc),+),
                        is_required: true,
                        schema: <$type as $crate::rpc::schema::Schema>::schema(types),
                    }),+];
                    $crate::rpc::schema::object(concat!($($doc),+), fields)
                })
            }
        }
    };
}
pub(super) use schema_of;

impl Schema for () {
    fn schema(_: &mut Types) -> Value {
        json!({"type": "null"})
    }
}

impl Schema for bool {
    fn schema(_: &mut Types) -> Value {
        json!({"type": "boolean"})
    }
}

impl Schema for String {
    fn schema(_: &mut Types) -> Value {
        json!({"type": "string"})
    }
}

impl Schema for SocketAddr {
    fn schema(_: &mut Types) -> Value {
        json!({"type": "string"})
    }
}

/// Any JSON value.
impl Schema for Value {
    fn schema(_: &mut Types) -> Value {
        json!({})
    }
}

macro_rules! integers {
    ($($type:ty),+) => {
        $(
            impl Schema for $type {
                fn schema(_: &mut Types) -> Value {
                    json!({"type": "integer", "minimum": 0, "maximum": <$type>::MAX})
                }
            }
        )+
    };
}
integers!(u8, u16, u32, u64);

impl<T: Schema> Schema for Option<T> {
    fn schema(types: &mut Types) -> Value {
        json!({"anyOf": [T::schema(types), {"type": "null"}]})
    }
}

impl<T: Schema> Schema for Vec<T> {
    fn schema(types: &mut Types) -> Value {
        json!({"type": "array", "items": T::schema(types)})
    }
}

impl<T: Schema> Schema for BTreeMap<String, T> {
    fn schema(types: &mut Types) -> Value {
        json!({"type": "object", "additionalProperties": T::schema(types)})
    }
}

impl Schema for AccountProof {
    fn schema(types: &mut Types) -> Value {
        named(types, "AccountProof", |_| {
            json!({
                "type": "object",
                "description": "Proof of an account in its written form.",
                "properties": {
                    "format": {"type": "string"},
                    "account": {"type": "string"},
                    "block": {"type": "string"},
                    "block_atoms": {"type": "array", "items": {"type": "string"}},
                    "path": {"type": "string"},
                    "account_atoms": {"type": "array", "items": {"type": "string"}},
                },
                "required": [
                    "format", "account", "block", "block_atoms", "path", "account_atoms"
                ],
                "additionalProperties": false,
            })
        })
    }
}

/// Method of the table.
pub(super) struct MethodSchema {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    pub(super) params: Vec<Field>,
    pub(super) result: Value,
}

/// Returns the OpenRPC document of these methods.
pub(super) fn document(methods: Vec<MethodSchema>, types: Types) -> Value {
    let methods = methods.into_iter().map(|method| {
        let params = method.params.into_iter().map(|field| {
            json!({
                "name": field.name,
                "description": one_line(field.doc),
                "required": field.is_required,
                "schema": field.schema,
            })
        });
        json!({
            "name": method.name,
            "summary": one_line(method.doc),
            "paramStructure": "by-name",
            "params": params.collect::<Vec<_>>(),
            "result": {"name": "result", "schema": method.result},
        })
    });
    json!({
        "openrpc": "1.3.2",
        "info": {"title": "RPC of the Astreum node", "version": "2"},
        "methods": methods.collect::<Vec<_>>(),
        "components": {"schemas": types},
    })
}
