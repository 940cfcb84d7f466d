pub(crate) const QUESTION: crate::Question = crate::Question { text: "", run: || Ok(()) };
