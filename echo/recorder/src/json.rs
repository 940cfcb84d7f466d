//! Writes JSON and HTML incrementally.
//!
//! A recording may have millions of steps. A tree of all JSON values would need many times the memory
//! of the events, so each value is written as soon as it is known.

use std::io::{self, Write};

use serde_json::Value;

/// Writes an object, one member after the other.
pub(crate) struct Object<'a, W> {
    out: &'a mut W,
    begun: bool,
}

impl<'a, W: Write> Object<'a, W> {
    pub(crate) fn new(out: &'a mut W) -> io::Result<Object<'a, W>> {
        out.write_all(b"{")?;
        Ok(Object { out, begun: false })
    }

    pub(crate) fn member(&mut self, key: &str, value: impl Into<Value>) -> io::Result<()> {
        write_value(self.key(key)?, &value.into())
    }

    /// Writes a key. The caller then writes its value.
    pub(crate) fn key(&mut self, key: &str) -> io::Result<&mut W> {
        separate(self.out, &mut self.begun)?;
        write_value(self.out, &key.into())?;
        self.out.write_all(b":")?;
        Ok(self.out)
    }

    pub(crate) fn end(self) -> io::Result<()> {
        self.out.write_all(b"}")
    }
}

/// Writes a list, one item after the other.
pub(crate) struct List<'a, W> {
    out: &'a mut W,
    begun: bool,
}

impl<'a, W: Write> List<'a, W> {
    pub(crate) fn new(out: &'a mut W) -> io::Result<List<'a, W>> {
        out.write_all(b"[")?;
        Ok(List { out, begun: false })
    }

    pub(crate) fn item(&mut self, value: impl Into<Value>) -> io::Result<()> {
        write_value(self.next()?, &value.into())
    }

    /// Begins the next item, which the caller writes.
    pub(crate) fn next(&mut self) -> io::Result<&mut W> {
        separate(self.out, &mut self.begun)?;
        Ok(self.out)
    }

    pub(crate) fn end(self) -> io::Result<()> {
        self.out.write_all(b"]")
    }
}

/// Writes a list of values, of which only one exists at a time.
pub(crate) fn write_list<W: Write>(
    out: &mut W,
    values: impl IntoIterator<Item = Value>,
) -> io::Result<()> {
    let mut list = List::new(out)?;
    values.into_iter().try_for_each(|value| list.item(value))?;
    list.end()
}

fn separate(out: &mut impl Write, begun: &mut bool) -> io::Result<()> {
    match std::mem::replace(begun, true) {
        true => out.write_all(b","),
        false => Ok(()),
    }
}

pub(crate) fn write_value(out: &mut impl Write, value: &Value) -> io::Result<()> {
    serde_json::to_writer(out, value).map_err(io::Error::from)
}

/// Returns what `write` writes, which must be UTF-8.
pub(crate) fn to_string(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
    let mut bytes = Vec::new();
    write(&mut bytes).expect("a vector takes all bytes");
    String::from_utf8(bytes).expect("only strings were written")
}

/// A writer that replaces some bytes with escapes.
pub(crate) struct Escaped<'a, W> {
    out: &'a mut W,
    instead: fn(u8) -> Option<&'static str>,
}

impl<'a, W: Write> Escaped<'a, W> {
    /// Escapes JSON inside of a `<script>` element, because `</script>` would end the element, and
    /// `<!--` would change where it ends.
    pub(crate) fn in_script(out: &'a mut W) -> Escaped<'a, W> {
        Escaped { out, instead: |byte| (byte == b'<').then_some("\\u003c") }
    }

    /// Escapes text inside of an element.
    pub(crate) fn in_element(out: &'a mut W) -> Escaped<'a, W> {
        let instead = |byte| match byte {
            b'&' => Some("&amp;"),
            b'<' => Some("&lt;"),
            b'>' => Some("&gt;"),
            _ => None,
        };
        Escaped { out, instead }
    }
}

impl<W: Write> Write for Escaped<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while let Some(place) = rest.iter().position(|byte| (self.instead)(*byte).is_some()) {
            self.out.write_all(&rest[..place])?;
            self.out.write_all((self.instead)(rest[place]).unwrap_or_default().as_bytes())?;
            rest = &rest[place + 1..];
        }
        self.out.write_all(rest)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::tests::cases;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use serde_json::json;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Value::from),
                btree_map(text(), inner, 0..4)
                    .prop_map(|members| members.into_iter().collect::<Value>()),
            ]
        })
    }

    /// Any text, often with what ends a script or a comment.
    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["(<|!|-|/|s|script|>|&|;|\"|\\\\|\n|\u{2028}|é){0,12}", any::<String>()]
    }

    /// Writes a value with the writers of this module.
    fn write(out: &mut Vec<u8>, value: &Value) -> io::Result<()> {
        match value {
            Value::Array(items) => {
                let mut list = List::new(out)?;
                items.iter().try_for_each(|item| write(list.next()?, item))?;
                list.end()
            }
            Value::Object(members) => {
                let mut object = Object::new(out)?;
                members.iter().try_for_each(|(key, value)| write(object.key(key)?, value))?;
                object.end()
            }
            other => write_value(out, other),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: cases(300), failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_value_is_read_back_and_stays_in_its_script(value in value()) {
            let json = to_string(|out| write(out, &value));
            prop_assert_eq!(serde_json::from_str(&json).ok(), Some(value.clone()));
            let script = to_string(|out| Escaped::in_script(out).write_all(json.as_bytes()));
            prop_assert!(!script.contains('<'));
            prop_assert_eq!(serde_json::from_str(&script).ok(), Some(value));
        }

        #[test]
        fn any_text_is_read_back_and_stays_in_its_element(text in text()) {
            let html = to_string(|out| Escaped::in_element(out).write_all(text.as_bytes()));
            prop_assert!(!html.contains(['<', '>']));
            let read = html.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
            prop_assert_eq!(read, text);
        }
    }

    #[test]
    fn members_and_items_are_separated_by_commas() {
        let text = to_string(|out| {
            let mut object = Object::new(out)?;
            object.member("one", 1)?;
            write_list(object.key("\"two\"")?, [json!("a"), json!([])])?;
            List::new(object.key("empty")?)?.end()?;
            object.end()
        });
        assert_eq!(text, r#"{"one":1,"\"two\"":["a",[]],"empty":[]}"#);
    }

    #[test]
    fn text_cannot_end_the_element_that_it_is_in() {
        let hostile = b"</script><!--&amp;>";
        let script = to_string(|out| Escaped::in_script(out).write_all(hostile));
        assert_eq!(script, "\\u003c/script>\\u003c!--&amp;>");
        let element = to_string(|out| Escaped::in_element(out).write_all(hostile));
        assert_eq!(element, "&lt;/script&gt;&lt;!--&amp;amp;&gt;");
    }
}
