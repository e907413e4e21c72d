//! Which problems the operations of the API can answer, for the OpenAPI document.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

use crate::http::problem::MEDIA_TYPE;

type Responses = BTreeMap<String, RefOr<Response>>;

const ALWAYS: &[(&str, &str)] = &[
    ("400", "The query, a header or the body cannot be read"),
    ("401", "Nobody was proven to be calling"),
    ("403", "The caller's role does not include this"),
    (
        "404",
        "There is nothing here, or nothing that the caller may know of",
    ),
    ("429", "Too many failed calls from this address"),
    ("500", "The service failed"),
    ("503", "Not possible at the moment; nothing was changed"),
];
const ENROL: &[(&str, &str)] = &[
    ("400", "The body cannot be read"),
    ("401", "The token is not good, for whatever reason"),
    ("429", "Too many failed calls from this address"),
    ("500", "The service failed"),
    ("503", "Not possible at the moment; nothing was changed"),
];
const PUBLIC: &[(&str, &str)] = &[
    ("404", "There is nothing here"),
    ("500", "The service failed"),
    ("503", "Not possible at the moment; nothing was changed"),
];
const BODY: &[(&str, &str)] = &[
    ("413", "The body is too large"),
    ("415", "The body is not JSON"),
    ("422", "Fields break rules"),
];
const RULES: &[(&str, &str)] = &[("422", "Parameters break rules")];
const STATE: &[(&str, &str)] = &[("409", "It contradicts what is stored")];
const ACCEPT: &[(&str, &str)] = &[(
    "406",
    "The caller takes neither JSON nor what it could have encrypted",
)];
const CONDITION: &[(&str, &str)] = &[("412", "It was changed meanwhile")];
const NEEDS_CONDITION: &[(&str, &str)] = &[("428", "If-Match is missing")];

fn responses(parts: &[&[(&str, &str)]]) -> Responses {
    let problem = |text: &str| {
        let schema = Ref::from_schema_name("Problem");
        let content = ContentBuilder::new().schema(Some(schema)).build();
        let response = ResponseBuilder::new().description(text);
        RefOr::T(response.content(MEDIA_TYPE, content).build())
    };
    parts
        .iter()
        .flat_map(|part| part.iter())
        .map(|(status, text)| ((*status).to_owned(), problem(text)))
        .collect()
}

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident = $($part:ident)+;)+) => {$(
        $(#[$doc])*
        pub struct $name;

        impl IntoResponses for $name {
            fn responses() -> Responses {
                responses(&[$($part),+])
            }
        }
    )+};
}

problems! {
    /// Of enrolment.
    EnrolProblems = ENROL BODY STATE;
    /// Of what anybody may read.
    PublicProblems = PUBLIC;
    /// Of a release.
    ReleaseProblems = ALWAYS ACCEPT;
    /// Of reading.
    ReadProblems = ALWAYS;
    /// Of reading what the parameters may contradict.
    LookupProblems = ALWAYS RULES;
    /// Of a call without a body that depends on the state of something.
    ActionProblems = ALWAYS STATE;
    /// Of such a call that may be conditional.
    RemovalProblems = ALWAYS STATE CONDITION;
    /// Of such a call that has to be conditional.
    ConditionalProblems = ALWAYS STATE CONDITION NEEDS_CONDITION;
    /// Of creating.
    CreateProblems = ALWAYS BODY STATE;
    /// Of changing.
    ChangeProblems = ALWAYS BODY STATE CONDITION NEEDS_CONDITION;
}
