//! What an exposed method says of itself: its signature, its doc comment, its marks.

use proc_macro2::{Group, Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{
    Attribute, Error, Expr, ExprLit, FnArg, GenericParam, Ident, ImplItemFn, Lifetime, Lit, Meta,
    Pat, Path, ReceiverKind, Result, ReturnType, Safety, Type, Visibility, ext::IdentExt,
    spanned::Spanned,
};

/// A method that can be called from afar.
pub(crate) struct Method {
    pub(crate) ident: Ident,
    pub(crate) doc: String,
    pub(crate) params: Vec<Param>,
    pub(crate) takes_context: bool,
    pub(crate) output: Type,
    pub(crate) effect: Ident,
    pub(crate) quick: bool,
    pub(crate) attribute: bool,
}

/// One of its published parameters.
pub(crate) struct Param {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    pub(crate) kind: Kind,
}

/// How a parameter takes its values.
pub(crate) enum Kind {
    /// One value; with one taken where none is passed.
    Plain(Option<Expr>),
    Args,
    Kwargs,
}

impl Method {
    /// Reads a method and takes our marks off it; `None` for what is not exposed.
    pub(crate) fn take(function: &mut ImplItemFn) -> Result<Option<Self>> {
        let exposed = matches!(function.vis, Visibility::Public(_))
            && matches!(function.sig.inputs.first(), Some(FnArg::Receiver(_)))
            && !function.sig.ident.to_string().starts_with('_');
        if !exposed {
            return no_marks(&function.attrs).map(|()| None);
        }
        let Some(FnArg::Receiver(receiver)) = function.sig.inputs.first() else { return Ok(None) };
        let ReceiverKind::Reference(_, _, mutability) = &receiver.kind else {
            let message = "an exposed method takes `&self` or `&mut self`: its object stays";
            return Err(Error::new(receiver.span(), message));
        };
        let default_effect = if mutability.is_some() { "Write" } else { "Read" };
        let signature = &function.sig;
        if let Some(token) = &signature.asyncness {
            return Err(Error::new(token.span(), "an exposed method cannot be async"));
        }
        if let Safety::Unsafe(token) = &signature.safety {
            return Err(Error::new(token.span(), "an exposed method cannot be unsafe"));
        }
        let generic = |param: &&GenericParam| !matches!(param, GenericParam::Lifetime(_));
        if let Some(param) = signature.generics.params.iter().find(generic) {
            return Err(Error::new(param.span(), "an exposed method cannot be generic"));
        }
        let doc = doc_text(&function.attrs);
        let marks = Marks::take(&mut function.attrs)?;
        if doc.is_empty() && !marks.undocumented {
            let message = "an exposed method needs a doc comment: it is what the person at the \
                           other end reads (or say #[undocumented])";
            return Err(Error::new(function.sig.ident.span(), message));
        }
        let (takes_context, mut params) = take_params(function)?;
        let mut output = match &function.sig.output {
            ReturnType::Default => syn::parse_quote!(()),
            ReturnType::Type(_, ty) => (**ty).clone(),
        };
        let lifetimes: Vec<_> = function.sig.generics.lifetimes().map(|l| &l.lifetime).collect();
        for ty in params.iter_mut().map(|param| &mut param.ty).chain([&mut output]) {
            *ty = elide(ty, &lifetimes)?;
        }
        let effect = marks.effect.unwrap_or_else(|| Ident::new(default_effect, Span::call_site()));
        let method = Self {
            ident: function.sig.ident.clone(),
            doc,
            params,
            takes_context,
            output,
            effect,
            quick: marks.quick,
            attribute: marks.attribute,
        };
        Ok(Some(method))
    }

    /// The name by which it is called.
    pub(crate) fn name(&self) -> String {
        self.ident.unraw().to_string()
    }

    /// The attribute that this method sets, if it sets one.
    pub(crate) fn sets(&self) -> Option<String> {
        (self.attribute && self.params.len() == 1)
            .then(|| self.name().strip_prefix("set_").map(String::from))
            .flatten()
    }
}

/// What stands above a method.
#[derive(Default)]
struct Marks {
    effect: Option<Ident>,
    quick: bool,
    attribute: bool,
    undocumented: bool,
}

/// Our marks, none of which Rust knows.
const MARKS: [&str; 4] = ["effect", "quick", "attribute", "undocumented"];

impl Marks {
    fn take(attrs: &mut Vec<Attribute>) -> Result<Self> {
        let mut marks = Self::default();
        for attr in attrs.iter() {
            let path = attr.path();
            if path.is_ident("effect") {
                let word: Ident = attr.parse_args()?;
                let variant = match word.to_string().as_str() {
                    "read" => "Read",
                    "write" => "Write",
                    "admin" => "Admin",
                    _ => return Err(Error::new(word.span(), "an effect is read, write or admin")),
                };
                marks.effect = Some(Ident::new(variant, word.span()));
            } else if is_mark(path) {
                bare(attr)?;
                marks.quick |= path.is_ident("quick");
                marks.attribute |= path.is_ident("attribute");
                marks.undocumented |= path.is_ident("undocumented");
            }
        }
        attrs.retain(|attr| !is_mark(attr.path()));
        Ok(marks)
    }
}

fn is_mark(path: &Path) -> bool {
    MARKS.iter().any(|mark| path.is_ident(mark))
}

/// A mark on something that is not exposed is a mistake worth a word.
fn no_marks(attrs: &[Attribute]) -> Result<()> {
    match attrs.iter().find(|attr| is_mark(attr.path())) {
        Some(attr) => Err(Error::new(
            attr.span(),
            "only exposed methods are marked so: `pub`, with `&self` or `&mut self`, \
             and a name without a leading underscore",
        )),
        None => Ok(()),
    }
}

/// A mark that takes nothing.
fn bare(attr: &Attribute) -> Result<()> {
    match &attr.meta {
        Meta::Path(_) => Ok(()),
        other => Err(Error::new(other.span(), "this mark takes no arguments")),
    }
}

/// Reads a method's parameters and takes our marks off them.
fn take_params(function: &mut ImplItemFn) -> Result<(bool, Vec<Param>)> {
    let mut takes_context = false;
    let mut params: Vec<Param> = Vec::new();
    for (place, input) in function.sig.inputs.iter_mut().skip(1).enumerate() {
        let FnArg::Typed(input) = input else { continue };
        if is_context(&input.ty) {
            if place > 0 {
                return Err(Error::new(input.span(), "the context is the first parameter"));
            }
            takes_context = true;
            continue;
        }
        let Pat::Ident(pattern) = &*input.pat else {
            let message = "an exposed parameter needs a plain name: callers use it";
            return Err(Error::new(input.pat.span(), message));
        };
        let ident = pattern.ident.clone();
        let kind = param_kind(&mut input.attrs)?;
        order(params.last(), &kind, &ident)?;
        params.push(Param { ident, ty: (*input.ty).clone(), kind });
    }
    Ok((takes_context, params))
}

fn param_kind(attrs: &mut Vec<Attribute>) -> Result<Kind> {
    let is_ours = |attr: &Attribute| PARAM_MARKS.iter().any(|mark| attr.path().is_ident(mark));
    let mut kind = Kind::Plain(None);
    for (place, attr) in attrs.iter().filter(|attr| is_ours(attr)).enumerate() {
        if place > 0 {
            let message = "a parameter is one of #[default(..)], #[args], #[kwargs]";
            return Err(Error::new(attr.span(), message));
        }
        if attr.path().is_ident("default") {
            kind = Kind::Plain(Some(attr.parse_args()?));
        } else {
            bare(attr)?;
            kind = if attr.path().is_ident("args") { Kind::Args } else { Kind::Kwargs };
        }
    }
    attrs.retain(|attr| !is_ours(attr));
    Ok(kind)
}

/// Our marks on parameters.
const PARAM_MARKS: [&str; 3] = ["default", "args", "kwargs"];

/// Python's order: required, optional, `*args`, `**kwargs`.
fn order(before: Option<&Param>, kind: &Kind, ident: &Ident) -> Result<()> {
    let rank = |kind: &Kind| match kind {
        Kind::Plain(None) => 0,
        Kind::Plain(Some(_)) => 1,
        Kind::Args => 2,
        Kind::Kwargs => 3,
    };
    let Some(before) = before else { return Ok(()) };
    let (last, this) = (rank(&before.kind), rank(kind));
    if this > last || (this == last && this < 2) {
        return Ok(());
    }
    let message = match this {
        0 => "a parameter without a default cannot follow one that has one",
        1 => "#[args] and #[kwargs] stand last",
        _ => "there is at most one #[args], then at most one #[kwargs]",
    };
    Err(Error::new(ident.span(), message))
}

/// `ty` with `'_` for the lifetimes that the method declares: they have no meaning outside of it.
fn elide(ty: &Type, lifetimes: &[&Lifetime]) -> Result<Type> {
    if lifetimes.is_empty() {
        return Ok(ty.clone());
    }
    syn::parse2(elide_tokens(ty.to_token_stream(), lifetimes))
}

fn elide_tokens(tokens: TokenStream, lifetimes: &[&Lifetime]) -> TokenStream {
    let mut after_quote = false;
    let elided = tokens.into_iter().map(|token| {
        let in_lifetime = after_quote;
        after_quote = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '\'');
        match token {
            TokenTree::Ident(ident)
                if in_lifetime && lifetimes.iter().any(|l| l.ident == ident) =>
            {
                Ident::new("_", ident.span()).into()
            }
            TokenTree::Group(group) => {
                let mut inner =
                    Group::new(group.delimiter(), elide_tokens(group.stream(), lifetimes));
                inner.set_span(group.span());
                inner.into()
            }
            other => other,
        }
    });
    elided.collect()
}

fn is_context(ty: &Type) -> bool {
    let Type::Reference(reference) = ty else { return false };
    let Type::Path(path) = &*reference.elem else { return false };
    path.path.segments.last().is_some_and(|segment| segment.ident == "Context")
}

/// A doc comment as a docstring: without the space that `///` leaves, and without blank ends.
pub(crate) fn doc_text(attrs: &[Attribute]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for attr in attrs {
        let Meta::NameValue(pair) = &attr.meta else { continue };
        if !pair.path.is_ident("doc") {
            continue;
        }
        if let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &pair.value {
            let text = text.value();
            lines.extend(text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).into()));
            if text.is_empty() {
                lines.push(String::new());
            }
        }
    }
    lines.join("\n").trim().into()
}
