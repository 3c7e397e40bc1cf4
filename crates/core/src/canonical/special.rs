//! Checks of arrays, documents, ranges and patterns, and what modifiers make of a check.

use std::sync::Arc;

use super::{LIST_MAX, Target, range_check, text_match};
use crate::array::Array;
use crate::document::Document;
use crate::filter::{
    ArrayCheck, Check, Comparison, FoldedCheck, Folding, Inclusion, JsonCheck, Polarity, RangeCheck,
};
use crate::literal::Literal;
use crate::pattern::{Case, Pattern};
use crate::query::{Operator, QueryError};
use crate::range::{End, Range, RangeType};
use crate::schema::ColumnType;
use crate::value::Value;

/// The check of an operator that knows nothing of plain values. `None` for other operators.
pub(super) fn special_check(
    target: &Target<'_>,
    operator: Operator,
    literal: Option<&Literal>,
) -> Result<Option<Check>, QueryError> {
    let check = match operator {
        Operator::Regex => {
            pattern_check(target, operator, literal, Case::Counts, Polarity::Inside)?
        }
        Operator::NotRegex => {
            pattern_check(target, operator, literal, Case::Counts, Polarity::Outside)?
        }
        Operator::ArrayContains
        | Operator::ArrayContainedBy
        | Operator::ArrayOverlaps
        | Operator::ArrayEquals
        | Operator::ArrayNotEquals
        | Operator::ArrayEmpty
        | Operator::ArrayNotEmpty
        | Operator::ArrayLength => Check::Array(array_check(target, operator, literal)?),
        Operator::JsonContains
        | Operator::JsonContainedBy
        | Operator::JsonHasKey
        | Operator::JsonHasAnyKey
        | Operator::JsonHasAllKeys
        | Operator::JsonGetField
        | Operator::JsonGetFieldAsText => Check::Json(json_check(target, operator, literal)?),
        Operator::RangeContains => range_contains(target, operator, literal)?,
        Operator::RangeContainedBy => range_contained_by(target, operator, literal)?,
        _ => return Ok(None),
    };
    Ok(Some(check))
}

fn pattern_check(
    target: &Target<'_>,
    operator: Operator,
    literal: Option<&Literal>,
    case: Case,
    polarity: Polarity,
) -> Result<Check, QueryError> {
    let source = needle(target, operator, literal)?;
    Ok(Check::Pattern(Pattern::new(&source, case), polarity))
}

/// The text that a text column is searched for.
pub(super) fn needle(
    target: &Target<'_>,
    operator: Operator,
    literal: Option<&Literal>,
) -> Result<Arc<str>, QueryError> {
    if *target.kind != ColumnType::Text {
        return Err(target.refuse(operator, "needs a text column"));
    }
    match target.value(target.required(literal, operator)?, operator)? {
        Value::Text(text) => Ok(text),
        _ => Err(target.refuse(operator, "needs a text value")),
    }
}

/// The same check without regard to case.
pub(super) fn folded_check(
    target: &Target<'_>,
    operator: Operator,
    literal: Option<&Literal>,
) -> Result<Check, QueryError> {
    let (list, polarity) = match operator {
        Operator::Regex | Operator::NotRegex => {
            let polarity = match operator {
                Operator::Regex => Polarity::Inside,
                _ => Polarity::Outside,
            };
            return pattern_check(target, operator, literal, Case::Ignored, polarity);
        }
        Operator::Equals | Operator::NotEquals => {
            let polarity = match operator {
                Operator::Equals => Polarity::Inside,
                _ => Polarity::Outside,
            };
            (vec![needle(target, operator, literal)?], polarity)
        }
        Operator::InList | Operator::NotInList => {
            let polarity = match operator {
                Operator::InList => Polarity::Inside,
                _ => Polarity::Outside,
            };
            if *target.kind != ColumnType::Text {
                return Err(target.refuse(operator, "ignores case in a text column only"));
            }
            let members = target.list(literal, operator)?;
            if members.is_empty() {
                return Ok(Check::InList(members, polarity));
            }
            let texts = members.into_iter().filter_map(|member| match member {
                Value::Text(text) => Some(text),
                _ => None,
            });
            (texts.collect(), polarity)
        }
        _ => {
            let Some(kind) = text_match(operator) else {
                let why = "cannot ignore case: equality, lists, searches in text and regular \
                           expressions can";
                return Err(target.refuse(operator, why));
            };
            let needle = needle(target, operator, literal)?;
            let (folding, mut needles) = folded(vec![needle]);
            let needle = needles.pop().unwrap_or_default();
            return Ok(Check::Folded(folding, FoldedCheck::Text(kind, needle)));
        }
    };
    let (folding, list) = folded(list);
    Ok(Check::Folded(folding, FoldedCheck::InList(list, polarity)))
}

/// Who folds these constants, and what they are then, sorted.
fn folded(constants: Vec<Arc<str>>) -> (Folding, Vec<Arc<str>>) {
    let (folding, mut constants) = match constants.iter().all(|text| text.is_ascii()) {
        false => (Folding::Database, constants),
        true => {
            let lower = constants
                .iter()
                .map(|text| text.to_ascii_lowercase().into());
            (Folding::Ascii, lower.collect())
        }
    };
    constants.sort();
    constants.dedup();
    (folding, constants)
}

fn array_check(
    target: &Target<'_>,
    operator: Operator,
    literal: Option<&Literal>,
) -> Result<ArrayCheck, QueryError> {
    let ColumnType::Array(kind) = target.kind else {
        return Err(target.refuse(operator, "needs an array column"));
    };
    let constant = || {
        if *kind.element() == ColumnType::JsonText {
            return Err(target.refuse(operator, "cannot compare elements of type json"));
        }
        let literal = target.required(literal, operator)?;
        let members = match literal {
            Literal::Null => return Err(target.null(operator)),
            Literal::List(members) => &members[..],
            one => std::slice::from_ref(one),
        };
        if members.len() > LIST_MAX {
            let text = format!("a list holds at most {LIST_MAX} values");
            return Err(QueryError::BadValue(text));
        }
        let elements = members.iter().map(|member| {
            let element = member.coerce(kind.element());
            element.map_err(|why| {
                QueryError::BadValue(format!("an element of column {} {why}", target.name))
            })
        });
        Ok(Arc::new(Array::flat(elements.collect::<Result<_, _>>()?)))
    };
    Ok(match operator {
        Operator::ArrayContains => ArrayCheck::Contains(constant()?),
        Operator::ArrayContainedBy => ArrayCheck::ContainedBy(constant()?),
        Operator::ArrayOverlaps => ArrayCheck::Overlaps(constant()?),
        Operator::ArrayEquals => ArrayCheck::Equals(constant()?, Polarity::Inside),
        Operator::ArrayNotEquals => ArrayCheck::Equals(constant()?, Polarity::Outside),
        Operator::ArrayLength => {
            let length = target.required(literal, operator)?;
            let length = match length.coerce(&ColumnType::BigInt) {
                Ok(Value::Int(length)) => length,
                _ => {
                    let text = format!("arrayLength on {} needs a whole number", target.name);
                    return Err(QueryError::BadValue(text));
                }
            };
            ArrayCheck::Length(length)
        }
        _ => {
            let asked = match literal {
                None | Some(Literal::Null) => true,
                Some(Literal::Bool(asked)) => *asked,
                Some(_) => {
                    let (name, column) = (operator.name(), target.name);
                    let text = format!("{name} on {column} takes true, false or nothing");
                    return Err(QueryError::BadValue(text));
                }
            };
            ArrayCheck::Empty(match asked == (operator == Operator::ArrayEmpty) {
                true => Polarity::Inside,
                false => Polarity::Outside,
            })
        }
    })
}

fn json_check(
    target: &Target<'_>,
    operator: Operator,
    literal: Option<&Literal>,
) -> Result<JsonCheck, QueryError> {
    if !matches!(target.kind, ColumnType::Json | ColumnType::JsonText) {
        return Err(target.refuse(operator, "needs a JSON column"));
    }
    let literal = target.required(literal, operator)?;
    if *literal == Literal::Null {
        return Err(target.null(operator));
    }
    let bad = |why: &str| {
        let (name, column) = (operator.name(), target.name);
        QueryError::BadValue(format!("{name} on {column} {why}"))
    };
    let key = |literal: &Literal| match literal {
        Literal::Text(text) => Ok(Arc::<str>::from(text.as_str())),
        _ => Err(bad("needs names of members as texts")),
    };
    let document = |literal: &Literal| {
        let why = "needs a JSON document as text, a number, a boolean or a list of these";
        document_of(literal).map(Arc::new).ok_or_else(|| bad(why))
    };
    Ok(match operator {
        Operator::JsonContains => JsonCheck::Contains(document(literal)?),
        Operator::JsonContainedBy => JsonCheck::ContainedBy(document(literal)?),
        Operator::JsonHasKey => JsonCheck::HasKey(key(literal)?),
        Operator::JsonHasAnyKey | Operator::JsonHasAllKeys => {
            let members = match literal {
                Literal::List(members) => &members[..],
                one => std::slice::from_ref(one),
            };
            let mut keys = members.iter().map(key).collect::<Result<Vec<_>, _>>()?;
            keys.sort();
            keys.dedup();
            match operator {
                Operator::JsonHasAnyKey => JsonCheck::HasAnyKey(keys),
                _ => JsonCheck::HasAllKeys(keys),
            }
        }
        _ => {
            let as_text = operator == Operator::JsonGetFieldAsText;
            match literal {
                Literal::List(pair) => {
                    let [name, value] = &pair[..] else {
                        return Err(bad("needs a name, or a list of a name and a value"));
                    };
                    match as_text {
                        true => {
                            let text = text_of(value).ok_or_else(|| bad("needs a text"))?;
                            JsonCheck::FieldTextEquals(key(name)?, text)
                        }
                        false => JsonCheck::FieldEquals(key(name)?, document(value)?),
                    }
                }
                name if as_text => JsonCheck::HasFieldText(key(name)?),
                name => JsonCheck::HasField(key(name)?),
            }
        }
    })
}

/// A text is a document already, a list one of its members as they are.
fn document_of(literal: &Literal) -> Option<Document> {
    match literal {
        Literal::Text(text) => Document::parse(text),
        Literal::List(members) => {
            let members = members.iter().map(|member| match member {
                Literal::Text(text) => Some(Document::Text(text.clone())),
                other => document_of(other),
            });
            members.collect::<Option<_>>().map(Document::Array)
        }
        Literal::Null => Some(Document::Null),
        Literal::Bool(value) => Some(Document::Bool(*value)),
        Literal::Number(text) | Literal::Int(text) => Document::parse(text),
        Literal::Time { .. } | Literal::Range { .. } | Literal::Json(_) => None,
    }
}

fn text_of(literal: &Literal) -> Option<Arc<str>> {
    match literal {
        Literal::Text(text) | Literal::Number(text) | Literal::Int(text) => {
            Some(text.as_str().into())
        }
        Literal::Bool(value) => Some(value.to_string().into()),
        _ => None,
    }
}

/// The ends that a literal gives: a range, or a list of two that both belong to it.
fn ends(literal: &Literal) -> Option<[(&Literal, Inclusion); 2]> {
    let inclusion = |included: bool| match included {
        true => Inclusion::Included,
        false => Inclusion::Excluded,
    };
    match literal {
        Literal::Range {
            low,
            high,
            include_low,
            include_high,
        } => Some([
            (low, inclusion(*include_low)),
            (high, inclusion(*include_high)),
        ]),
        Literal::List(ends) => match &ends[..] {
            [low, high] => Some([(low, Inclusion::Included), (high, Inclusion::Included)]),
            _ => None,
        },
        _ => None,
    }
}

/// An end of a range; NULL is no end.
fn end(
    target: &Target<'_>,
    kind: &ColumnType,
    end: (&Literal, Inclusion),
) -> Result<End, QueryError> {
    let bad = |why| QueryError::BadValue(format!("an end of the range for {} {why}", target.name));
    match end.0.coerce(kind).map_err(bad)? {
        Value::Null => Ok(None),
        value => Ok(Some((value, end.1))),
    }
}

fn range_of(
    target: &Target<'_>,
    kind: RangeType,
    [low, high]: [(&Literal, Inclusion); 2],
) -> Result<Range, QueryError> {
    let element = kind.element();
    let (low, high) = (end(target, &element, low)?, end(target, &element, high)?);
    Range::new(kind, low, high)
        .map_err(|why| QueryError::BadValue(format!("column {} {why}", target.name)))
}

fn range_contains(
    target: &Target<'_>,
    operator: Operator,
    literal: Option<&Literal>,
) -> Result<Check, QueryError> {
    let ColumnType::Range(kind) = *target.kind else {
        return Err(target.refuse(operator, "needs a range column"));
    };
    let literal = target.required(literal, operator)?;
    let check = match ends(literal) {
        Some(ends) => RangeCheck::Covers(range_of(target, kind, ends)?),
        None if *literal == Literal::Null => return Err(target.null(operator)),
        None => {
            let value = literal.coerce(&kind.element());
            let bad =
                |why| QueryError::BadValue(format!("a value in column {} {why}", target.name));
            RangeCheck::Holds(value.map_err(bad)?)
        }
    };
    Ok(Check::Range(kind, check))
}

/// A range lies in another, or a value does: then it is just between its ends.
fn range_contained_by(
    target: &Target<'_>,
    operator: Operator,
    literal: Option<&Literal>,
) -> Result<Check, QueryError> {
    let literal = target.required(literal, operator)?;
    let Some([low, high]) = ends(literal) else {
        let (name, column) = (operator.name(), target.name);
        let text = format!("{name} on {column} needs a RangeValue or a list of two");
        return Err(QueryError::BadValue(text));
    };
    if let ColumnType::Range(kind) = *target.kind {
        let range = range_of(target, kind, [low, high])?;
        return Ok(Check::Range(kind, RangeCheck::CoveredBy(range)));
    }
    if !target.kind.is_comparable() {
        return Err(target.refuse(
            operator,
            "needs a range column, or one that can be compared",
        ));
    }
    match (
        end(target, target.kind, low)?,
        end(target, target.kind, high)?,
    ) {
        (Some(_), Some(_)) => range_check(target, operator, Some(literal), Polarity::Inside),
        (Some((low, Inclusion::Included)), None) => {
            Ok(Check::Compare(Comparison::GreaterOrEqual, low))
        }
        (Some((low, Inclusion::Excluded)), None) => Ok(Check::Compare(Comparison::Greater, low)),
        (None, Some((high, Inclusion::Included))) => {
            Ok(Check::Compare(Comparison::LessOrEqual, high))
        }
        (None, Some((high, Inclusion::Excluded))) => Ok(Check::Compare(Comparison::Less, high)),
        (None, None) => Ok(Check::IsNotNull),
    }
}

/// What a NULL is to an operator that takes NULL for a value: among those that it asks for, or
/// not. `None` when the operator cannot do that.
pub(super) fn null_as_value(operator: Operator) -> Option<Polarity> {
    match operator {
        Operator::Equals | Operator::InList | Operator::ArrayEquals => Some(Polarity::Outside),
        Operator::NotEquals | Operator::NotInList | Operator::ArrayNotEquals => {
            Some(Polarity::Inside)
        }
        _ => None,
    }
}
