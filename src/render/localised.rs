//! The helpers that write for readers of a language: `money`, `date` and `plural`, with the words and signs that the built-in
//! mails have.
//!
//! The language is the helper's own `language="fr"`, else that of the template, else the value `language` of the mail, as it is
//! written where the mail is read, else English. A date is shown in the helper's `timezone`, else in that of the brand, else in UTC.
//!
//! A template may have placeholders of these names: `{{date}}` prints a value, `{{date at}}` calls the helper. handlebars
//! would take both for calls, so a call is given a name that no template can spell ([`bind`]).

use handlebars::{
    Context, Handlebars, Helper, HelperDef, HelperResult, Output, RenderContext, RenderErrorReason,
    ScopedJson, Template,
    template::{HelperTemplate, Parameter, TemplateElement},
};
use serde_json::Value;

use crate::shop::format::{format_day, format_money, format_number, is_number};
use crate::shop::{Timezone, day_in, language::Language, locale::REGIONAL_LANGUAGE, plural::Plural};

use super::run::{language_of_run, note_missing};
use super::work::charged;

/// Reading and writing a value.
const WORK: u64 = 1_000;
/// The value that has the time zone of the brand.
const BRAND_TIMEZONE: &str = "brand_timezone";

/// A helper that writes for readers of a language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Localised {
    Money,
    Date,
    Plural,
}

impl Localised {
    pub(super) const ALL: [Self; 3] = [Self::Money, Self::Date, Self::Plural];

    /// What templates call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Money => "money",
            Self::Date => "date",
            Self::Plural => "plural",
        }
    }

    /// What handlebars calls it; its space is there so that a template cannot spell it.
    pub(super) const fn bound_name(self) -> &'static str {
        match self {
            Self::Money => "money helper",
            Self::Date => "date helper",
            Self::Plural => "plural helper",
        }
    }

    pub(super) fn called(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|helper| helper.name() == name)
    }

    /// How many arguments it takes, and which keys.
    const fn takes(self) -> (usize, &'static [&'static str]) {
        match self {
            Self::Money => (2, &["language"]),
            Self::Date => (1, &["language", "timezone"]),
            Self::Plural => (1, &["language", "zero", "one", "many", "other"]),
        }
    }

    /// What can be said of a call before there are values.
    ///
    /// # Errors
    /// What is wrong, for the author.
    pub(super) fn check(self, call: &HelperTemplate) -> Result<(), String> {
        let (name, (arguments, keys)) = (self.name(), self.takes());
        if call.params.len() != arguments {
            return Err(match self {
                Self::Money => "`money` takes two arguments: an amount and a currency".to_owned(),
                Self::Date => "`date` takes one argument: a date".to_owned(),
                Self::Plural => "`plural` takes one argument: a count".to_owned(),
            });
        }
        if let Some(unknown) = call.hash.keys().find(|key| !keys.contains(&key.as_str())) {
            return Err(format!("`{name}` does not take `{unknown}=`; it takes {}", keys.join(", ")));
        }
        if self == Self::Plural && !call.hash.contains_key("other") {
            return Err("`plural` needs `other=`, the words for any count".to_owned());
        }
        let literal = |parameter: Option<&Parameter>| match parameter {
            Some(Parameter::Literal(value)) => Some(value.clone()),
            _ => None,
        };
        let mut given =
            Given { value: literal(call.params.first()).unwrap_or(Value::Null), ..Given::default() };
        given.currency = literal(call.params.get(1)).unwrap_or_else(|| "EUR".into());
        given.language = literal(call.hash.get("language"));
        given.timezone = literal(call.hash.get("timezone"));
        given.words = Some(["other"; 4].map(|word| Some(word.to_owned())));
        self.write(&given, Language::En).map(drop)
    }

    /// What it prints; nothing for `null`.
    ///
    /// # Errors
    /// What is wrong with the values. It names none: they may be anybody's.
    fn write(self, given: &Given, language: Language) -> Result<String, String> {
        let language = match &given.language {
            None | Some(Value::Null) => language,
            Some(tag) => tag.as_str().and_then(Language::from_regional_tag).ok_or_else(|| {
                let known: Vec<_> = Language::ALL.iter().map(|language| language.as_str()).collect();
                format!("the language of `{}` must be one of {}", self.name(), known.join(", "))
            })?,
        };
        let text = match &given.value {
            Value::Null => String::new(),
            Value::String(text) => text.trim().to_owned(),
            Value::Number(number) => number.to_string(),
            _ => "[]".to_owned(), // not one of ours
        };
        match self {
            Self::Money => {
                let currency = given.currency.as_str().unwrap_or_default();
                if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_alphabetic()) {
                    return Err("`money` needs a currency of three letters as in \"EUR\"".to_owned());
                }
                match given.value {
                    Value::Null => Ok(text),
                    _ if is_number(&text) => Ok(format_money(language, &text, currency)),
                    _ => Err("`money` needs a decimal number as in 59.90".to_owned()),
                }
            }
            Self::Date => {
                let zone = match &given.timezone {
                    None | Some(Value::Null) => None,
                    Some(name) => Some(name.as_str().and_then(Timezone::called).ok_or_else(|| {
                        "`date` needs a time zone of the IANA database, as in \"Europe/Berlin\"".to_owned()
                    })?),
                };
                match given.value {
                    Value::Null => Ok(text),
                    _ => day_in(&text, zone.as_ref()).map(|day| format_day(language, day)).ok_or_else(|| {
                        "`date` needs a date as in 2026-03-01, or a time in RFC 3339".to_owned()
                    }),
                }
            }
            Self::Plural if given.value.is_null() => Ok(text),
            Self::Plural => words_for(&text, given.words.clone().unwrap_or_default(), language),
        }
    }

    /// What it prints with these values, and the path of its first argument where that has no value.
    fn call_with(
        self,
        helper: &Helper<'_>,
        values: &Context,
    ) -> Result<Result<String, String>, handlebars::RenderError> {
        charged(WORK)?;
        let arguments = helper.params().iter().take(self.takes().0);
        for argument in arguments {
            if argument.is_value_missing() {
                return Ok(Err(argument.relative_path().cloned().unwrap_or_default()));
            }
        }
        let hash = |key: &str| helper.hash_get(key).map(|value| value.value().clone());
        let words = |key: &str| match hash(key)? {
            Value::String(words) => Some(words),
            Value::Null => None,
            other => Some(other.to_string()),
        };
        let argument =
            |index: usize| helper.param(index).map_or(Value::Null, |argument| argument.value().clone());
        let of_brand = || values.data().get(BRAND_TIMEZONE).cloned();
        let given = Given {
            value: argument(0),
            currency: argument(1),
            language: hash("language"),
            timezone: if self == Self::Date { hash("timezone").or_else(of_brand) } else { None },
            words: (self == Self::Plural).then(|| ["zero", "one", "many", "other"].map(words)),
        };
        let named_by = |value: &str| values.data().get(value).and_then(Value::as_str);
        let of_reader = || {
            [REGIONAL_LANGUAGE, "language"]
                .into_iter()
                .filter_map(named_by)
                .find_map(Language::from_regional_tag)
        };
        let language = language_of_run().or_else(of_reader).unwrap_or(Language::En);
        let written = self.write(&given, language).map_err(RenderErrorReason::Other)?;
        charged(written.len() as u64)?;
        Ok(Ok(written))
    }
}

/// The words for a count, of those for nothing, one, many and any.
fn words_for(
    count: &str,
    [zero, one, many, other]: [Option<String>; 4],
    language: Language,
) -> Result<String, String> {
    let shown = is_number(count).then(|| as_shown(count));
    let plural = shown.and_then(|shown| Plural::of(language, shown)).ok_or("`plural` needs a number")?;
    let words = match plural {
        Plural::Zero => zero.or(if Plural::counts_nothing_as_one(language) { one } else { None }),
        Plural::One => one,
        Plural::Many => many,
        Plural::Other => None,
    };
    let words = words.or(other).unwrap_or_default();
    Ok(words.replace('#', &format_number(language, count).unwrap_or_else(|| count.to_owned())))
}

/// A decimal number with the decimals that [`format_number`] shows: the words have to fit what stands beside them.
fn as_shown(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

/// What a helper is called with.
#[derive(Default)]
struct Given {
    value: Value,
    currency: Value,
    language: Option<Value>,
    timezone: Option<Value>,
    /// For nothing, one, many and any.
    words: Option<[Option<String>; 4]>,
}

impl HelperDef for Localised {
    fn call_inner<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        _: &'reg Handlebars<'reg>,
        values: &'rc Context,
        _: &mut RenderContext<'reg, 'rc>,
    ) -> Result<ScopedJson<'rc>, handlebars::RenderError> {
        Ok(self.call_with(helper, values)?.map_or(Value::Null, Value::from).into())
    }

    fn call<'reg: 'rc, 'rc>(
        &self,
        helper: &Helper<'rc>,
        registry: &'reg Handlebars<'reg>,
        values: &'rc Context,
        context: &mut RenderContext<'reg, 'rc>,
        out: &mut dyn Output,
    ) -> HelperResult {
        match self.call_with(helper, values)? {
            Ok(written) if context.is_disable_escape() => Ok(out.write(&written)?),
            Ok(written) => Ok(out.write(&registry.get_escape_fn()(&written))?),
            Err(missing) => note_missing(&missing, context),
        }
    }
}

/// Gives the calls of these helpers in a template the names by which handlebars knows them.
pub(super) fn bind(template: &mut Template) {
    for element in &mut template.elements {
        match element {
            TemplateElement::Expression(call) | TemplateElement::HtmlExpression(call) => bind_call(call),
            TemplateElement::HelperBlock(block) => {
                bind_call(block);
                block.template.iter_mut().chain(&mut block.inverse).for_each(bind);
            }
            _ => {}
        }
    }
}

fn bind_call(call: &mut HelperTemplate) {
    let is_call = !call.params.is_empty() || !call.hash.is_empty();
    if let Some(helper) = call.name.as_name().and_then(Localised::called).filter(|_| is_call) {
        call.name = Parameter::Name(helper.bound_name().to_owned());
    }
    for parameter in std::iter::once(&mut call.name).chain(&mut call.params).chain(call.hash.values_mut()) {
        if let Parameter::Subexpression(inner) = parameter
            && let TemplateElement::Expression(call) = &mut *inner.element
        {
            bind_call(call);
        }
    }
}
