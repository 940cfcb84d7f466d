//! The keys of a US keyboard, as the DevTools protocol describes them.

use serde_json::{Value, json};

const MODIFIERS: [(&str, u8); 4] = [("Alt", 1), ("Control", 2), ("Meta", 4), ("Shift", SHIFT)];
const SHIFT: u8 = 8;

/// The names of keys that are no characters, with Windows' number of each and the text that it
/// writes.
const NAMED: [(&str, u32, &str); 13] = [
    ("ArrowLeft", 37, ""),
    ("ArrowUp", 38, ""),
    ("ArrowRight", 39, ""),
    ("ArrowDown", 40, ""),
    ("Home", 36, ""),
    ("End", 35, ""),
    ("PageUp", 33, ""),
    ("PageDown", 34, ""),
    ("Escape", 27, ""),
    ("Tab", 9, ""),
    ("Backspace", 8, ""),
    ("Delete", 46, ""),
    ("Enter", 13, "\r"),
];

/// The other keys: the character alone, the one with Shift, the key's place, Windows' number.
const SIGNS: [(char, char, &str, u32); 12] = [
    (' ', ' ', "Space", 32),
    ('`', '~', "Backquote", 192),
    ('-', '_', "Minus", 189),
    ('=', '+', "Equal", 187),
    ('[', '{', "BracketLeft", 219),
    (']', '}', "BracketRight", 221),
    ('\\', '|', "Backslash", 220),
    (';', ':', "Semicolon", 186),
    ('\'', '"', "Quote", 222),
    (',', '<', "Comma", 188),
    ('.', '>', "Period", 190),
    ('/', '?', "Slash", 191),
];

/// What the digits write with Shift.
const OVER_DIGITS: &str = ")!@#$%^&*(";

/// A key as it is pressed.
struct Key {
    /// What it means: its name, or the character that it writes.
    name: String,
    /// Its place on the keyboard.
    code: String,
    /// Its number on Windows, which is what the protocol knows keys by.
    number: u32,
    text: String,
}

/// The parameters of `Input.dispatchKeyEvent` for pressing a key and for letting it go.
#[track_caller]
pub(super) fn strokes(keys: &str) -> [Value; 2] {
    let (modifiers, name) = split(keys);
    let (key, modifiers) = match named(name) {
        Some(key) => (key, modifiers),
        None => writing(name, modifiers),
    };
    // With Control, Alt or Meta a key is a command, and writes nothing.
    let text = if modifiers & !SHIFT == 0 { &key.text } else { "" };
    let stroke = |kind: &str, text: &str| {
        json!({
            "type": kind, "key": key.name, "code": key.code, "text": text,
            "windowsVirtualKeyCode": key.number, "modifiers": modifiers,
        })
    };
    let down = if text.is_empty() { "rawKeyDown" } else { "keyDown" };
    [stroke(down, text), stroke("keyUp", "")]
}

/// `"Control+Shift+x"` as the modifiers' bits and the key.
fn split(keys: &str) -> (u8, &str) {
    for (name, bit) in MODIFIERS {
        if let Some(rest) = keys.strip_prefix(name).and_then(|rest| rest.strip_prefix('+')) {
            let (others, key) = split(rest);
            return (bit | others, key);
        }
    }
    (0, keys)
}

fn named(wanted: &str) -> Option<Key> {
    let (name, number, text) = *NAMED.iter().find(|(name, ..)| *name == wanted)?;
    Some(Key { name: name.to_owned(), code: name.to_owned(), number, text: text.to_owned() })
}

/// The key that writes a character, and the modifiers that it takes. As at a real keyboard:
/// nobody types a question mark without Shift, and with Shift a letter is a capital.
#[track_caller]
fn writing(character: &str, modifiers: u8) -> (Key, u8) {
    let found = characters().find(|key| key.0 == character || key.1 == character);
    let Some((alone, shifted, code, number)) = found else {
        panic!("a US keyboard has no key {character:?}");
    };
    let modifiers = if character == alone { modifiers } else { modifiers | SHIFT };
    let text = if modifiers & SHIFT == 0 { alone } else { shifted };
    (Key { name: text.clone(), code, number, text }, modifiers)
}

/// All keys that write, as in [`SIGNS`].
fn characters() -> impl Iterator<Item = (String, String, String, u32)> {
    let letters = ('A'..='Z').map(|letter| {
        let small = letter.to_ascii_lowercase().to_string();
        (small, letter.to_string(), format!("Key{letter}"), u32::from(letter))
    });
    let digits = ('0'..='9').zip(OVER_DIGITS.chars()).map(|(digit, over)| {
        (digit.to_string(), over.to_string(), format!("Digit{digit}"), u32::from(digit))
    });
    let signs = SIGNS.iter().map(|(sign, over, code, number)| {
        (sign.to_string(), over.to_string(), (*code).to_owned(), *number)
    });
    letters.chain(digits).chain(signs)
}
