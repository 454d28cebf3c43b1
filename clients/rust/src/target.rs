//! `OBJECT.METHOD`, where both may be known and the object's name may have dots.

/// What a word names: an object, and maybe one of its methods or attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub(crate) object: &'a str,
    pub(crate) member: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// Splits `word`: the longest name in `objects` that it starts with is the object; where there is
    /// none, all before the last dot, so that the agent tells what is wrong with it.
    pub(crate) fn split(word: &'a str, objects: &[String]) -> Self {
        let fits = |name: &&String| {
            word.strip_prefix(name.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if let Some(name) = objects.iter().filter(fits).max_by_key(|name| name.len()) {
            let (object, rest) = word.split_at(name.len());
            return Self { object, member: rest.strip_prefix('.') };
        }
        match word.rsplit_once('.') {
            Some((object, member)) => Self { object, member: Some(member) },
            None => Self { object: word, member: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn the_longest_known_name_wins() {
        let objects = ["animals", "animals.angry", "foo"].map(String::from);
        let split = |word| {
            let Target { object, member } = Target::split(word, &objects);
            (object, member)
        };
        assert_eq!(split("foo"), ("foo", None));
        assert_eq!(split("foo.add"), ("foo", Some("add")));
        assert_eq!(split("animals.angry"), ("animals.angry", None));
        assert_eq!(split("animals.angry.growl"), ("animals.angry", Some("growl")));
        assert_eq!(split("animals.feed"), ("animals", Some("feed")));
        assert_eq!(split("animals.angryx"), ("animals", Some("angryx")));
        assert_eq!(split("nope.add"), ("nope", Some("add")));
        assert_eq!(split("a.b.c"), ("a.b", Some("c")));
        assert_eq!(split("foolish"), ("foolish", None));
        assert_eq!(split("foo."), ("foo", Some("")));
    }
}
