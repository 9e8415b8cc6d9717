//! Patterns of the parameters that have a syntax of their own, for `/openapi.json`. A client that keeps to them is never
//! refused for the form of a value; the parsers accept some more, such as other blanks.

/// A Kubernetes name, as targets have it.
const NAME: &str = "[A-Za-z0-9._-]{1,253}";
/// A name that is no number.
const WORD: &str = "[0-9]{0,20}[A-Za-z._-][A-Za-z0-9._-]{0,40}";
const PORT: &str = "0*([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";
const PROTOCOL: &str = "(/([Tt][Cc][Pp]|[Uu][Dd][Pp]|[Ss][Cc][Tt][Pp]))?";
/// A label's name, and its value if it is not empty.
const LABEL: &str = "[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?";

/// Pattern of a namespace that is no list.
pub fn namespace() -> String {
    format!("^{NAME}$")
}

/// Pattern of a fingerprint.
pub fn fingerprint() -> String {
    "^[0-9a-f]{32}$".to_owned()
}

/// Pattern of a time or duration, back from now.
pub fn since() -> String {
    let time = "2[0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z";
    format!("^([0-9]{{1,6}}[smhd]|{time})$")
}

/// Pattern of the target of `/v1/explain`.
pub fn target() -> String {
    let node_port = format!(":?{PORT}{PROTOCOL}|nodeport/{PORT}{PROTOCOL}");
    let object = format!("(pod|pods|po|svc|service|services)/{NAME}(/{NAME})?|{WORD}(/{NAME})?");
    let port = format!("(:({PORT}|{WORD}){PROTOCOL})?");
    format!("^({node_port}|(?!nodeport/)({object}){port})$")
}

/// Pattern of a label selector.
pub fn labels() -> String {
    let key = format!("([a-z0-9.-]{{1,253}}/)?{LABEL}");
    let value = format!("({LABEL})?");
    let compared = format!("{key} *(=|==|!=) *{value}");
    let listed = format!("{key} +(in|notin) *\\( *{value} *(, *{value} *)*\\)");
    let requirement = format!(" *(!?{key}|{compared}|{listed}) *");
    format!("^({requirement}(,{requirement})*)?$")
}
