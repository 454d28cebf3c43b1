//! Writes `impl Object` for a type.

use crate::method::{Kind, Method, Param, doc_text};
use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{
    Error, Ident, ImplItem, ItemImpl, Path, Result, ext::IdentExt, parse::Parser as _,
    spanned::Spanned,
};

/// What stands in the brackets of `#[expose(..)]`.
#[derive(Default)]
struct Options {
    /// `part = Name`: the block is a part of an object whose main block is elsewhere.
    part: Option<Ident>,
    /// `parts(path, ..)`: the block is the main one, and these are the others.
    parts: Vec<Path>,
    /// `way = method`: the method that gives the way to the object's device.
    way: Option<Ident>,
}

impl Options {
    fn parse(args: TokenStream) -> Result<Self> {
        let mut options = Self::default();
        let parser = syn::meta::parser(|meta| {
            if meta.path.is_ident("part") {
                options.part = Some(meta.value()?.parse()?);
            } else if meta.path.is_ident("parts") {
                meta.parse_nested_meta(|part| {
                    options.parts.push(part.path);
                    Ok(())
                })?;
            } else if meta.path.is_ident("way") {
                options.way = Some(meta.value()?.parse()?);
            } else {
                return Err(meta.error(
                    "#[expose] takes `part = Name`, `parts(path, ..)`, `way = method`, or nothing",
                ));
            }
            Ok(())
        });
        parser.parse2(args)?;
        Ok(options)
    }
}

/// The block as it was, without our marks, and behind it what makes an object of its type.
pub(crate) fn expose(args: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let options = Options::parse(args)?;
    let mut block: ItemImpl = syn::parse2(item).map_err(|error| {
        Error::new(error.span(), "#[expose] stands on an `impl` block of a type")
    })?;
    if let Some((path, _)) = &block.trait_ {
        let message = "#[expose] stands on the type's own `impl`, not on a trait's";
        return Err(Error::new(path.span(), message));
    }
    let mut exposed = Vec::new();
    for item in &mut block.items {
        if let ImplItem::Fn(function) = item
            && let Some(method) = Method::take(function)?
        {
            exposed.push(method);
        }
    }
    let behind = match &options.part {
        Some(part) => self::part(part, &block, &exposed)?,
        None => object(&options, &block, exposed)?,
    };
    Ok(quote! {
        // The docs are written for a Python prompt: `raises ValueError` instead of an Errors section. What is made of
        // the arguments on the wire is the method's own.
        #[allow(clippy::doc_markdown, clippy::missing_errors_doc, clippy::needless_pass_by_value)]
        #[allow(rustdoc::broken_intra_doc_links)]
        #block

        #behind
    })
}

/// `impl Object`.
fn object(options: &Options, block: &ItemImpl, exposed: Vec<Method>) -> Result<TokenStream> {
    let parts = &options.parts;
    let way = options.way.iter();
    let (attributes, methods): (Vec<_>, Vec<_>) =
        exposed.into_iter().partition(|method| method.attribute);
    let attributes = Attribute::pair(attributes)?;

    let doc = doc_text(&block.attrs);
    let method_entries = methods.iter().enumerate().map(|(index, m)| method_entry(index, m));
    let attribute_entries = attributes.iter().enumerate().map(|(index, a)| a.entry(index));
    let calls = methods.iter().enumerate().map(|(index, m)| call_arm(index, m));
    let gets = attributes.iter().enumerate().map(|(index, a)| a.get_arm(index));
    let sets = attributes.iter().enumerate().filter_map(|(index, a)| a.set_arm(index));
    let (generics, ty) = (&block.generics, &block.self_ty);
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    let own = methods.len();
    Ok(quote! {
        #[automatically_derived]
        #[allow(clippy::all, clippy::pedantic, unused_variables)]
        impl #impl_generics ::proximity_proto::object::Object for #ty #where_clause {
            fn interface(&self) -> ::proximity_proto::object::Interface {
                let mut interface = ::proximity_proto::object::Interface {
                    doc: #doc.into(),
                    methods: ::proximity_proto::__private::vec![#(#method_entries),*],
                    attributes: ::proximity_proto::__private::vec![#(#attribute_entries),*],
                };
                #(interface.add(<Self as ::proximity_proto::object::Part<#parts>>::methods());)*
                interface
            }

            fn call(
                &mut self,
                method: &::proximity_proto::object::Method,
                args: ::proximity_proto::object::Args<'_>,
                cx: &::proximity_proto::object::Context<'_>,
                out: &mut ::proximity_proto::__private::Vec<u8>,
            ) -> ::core::result::Result<
                ::proximity_proto::object::Flow,
                ::proximity_proto::fault::Fault,
            > {
                match method.index {
                    #(#calls)*
                    index => {
                        let index = index - #own;
                        #(
                            if index < <Self as ::proximity_proto::object::Part<#parts>>::METHODS {
                                return <Self as ::proximity_proto::object::Part<#parts>>::call(
                                    self, index, method, args, cx, out,
                                );
                            }
                            let index =
                                index - <Self as ::proximity_proto::object::Part<#parts>>::METHODS;
                        )*
                        ::core::result::Result::Err(method.unknown())
                    }
                }
            }

            fn get(
                &mut self,
                attribute: &::proximity_proto::object::Attribute,
                cx: &::proximity_proto::object::Context<'_>,
                out: &mut ::proximity_proto::__private::Vec<u8>,
            ) -> ::core::result::Result<
                ::proximity_proto::object::Flow,
                ::proximity_proto::fault::Fault,
            > {
                match attribute.index {
                    #(#gets)*
                    _ => ::core::result::Result::Err(attribute.unknown()),
                }
            }

            fn set(
                &mut self,
                attribute: &::proximity_proto::object::Attribute,
                value: ::proximity_proto::value::Value<'_>,
                cx: &::proximity_proto::object::Context<'_>,
                out: &mut ::proximity_proto::__private::Vec<u8>,
            ) -> ::core::result::Result<
                ::proximity_proto::object::Flow,
                ::proximity_proto::fault::Fault,
            > {
                match attribute.index {
                    #(#sets)*
                    _ => ::core::result::Result::Err(attribute.read_only()),
                }
            }

            #(
                fn way(
                    &self,
                ) -> ::core::option::Option<
                    ::proximity_proto::__private::Arc<dyn ::proximity_proto::object::Way>,
                > {
                    ::core::option::Option::Some(self.#way())
                }
            )*
        }
    })
}

/// `impl Part`, and the type that names the part.
fn part(name: &Ident, block: &ItemImpl, methods: &[Method]) -> Result<TokenStream> {
    if let Some(attribute) = methods.iter().find(|method| method.attribute) {
        let message = "attributes stand in the main block, the one with `parts(..)`";
        return Err(Error::new(attribute.ident.span(), message));
    }
    let count = methods.len();
    let entries = methods.iter().enumerate().map(|(index, m)| method_entry(index, m));
    let calls = methods.iter().enumerate().map(|(index, m)| call_arm(index, m));
    let (generics, ty) = (&block.generics, &block.self_ty);
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    let doc = "Names a part of an object's methods in the `#[expose]` of its main block.";
    Ok(quote! {
        #[doc = #doc]
        pub(crate) enum #name {}

        #[automatically_derived]
        #[allow(clippy::all, clippy::pedantic, unused_variables)]
        impl #impl_generics ::proximity_proto::object::Part<#name> for #ty #where_clause {
            const METHODS: usize = #count;

            fn methods() -> ::proximity_proto::__private::Vec<::proximity_proto::object::Method> {
                ::proximity_proto::__private::vec![#(#entries),*]
            }

            fn call(
                &mut self,
                index: usize,
                method: &::proximity_proto::object::Method,
                args: ::proximity_proto::object::Args<'_>,
                cx: &::proximity_proto::object::Context<'_>,
                out: &mut ::proximity_proto::__private::Vec<u8>,
            ) -> ::core::result::Result<
                ::proximity_proto::object::Flow,
                ::proximity_proto::fault::Fault,
            > {
                match index {
                    #(#calls)*
                    _ => ::core::result::Result::Err(method.unknown()),
                }
            }
        }
    })
}

/// A method's entry in the interface.
fn method_entry(index: usize, method: &Method) -> TokenStream {
    let (name, doc) = (method.name(), &method.doc);
    let (effect, quick) = (&method.effect, method.quick);
    let params = method.params.iter().map(param_entry);
    let output = &method.output;
    let returns = quote_spanned! { output.span() =>
        <#output as ::proximity_proto::object::Output>::ty()
    };
    quote! {
        ::proximity_proto::object::Method {
            name: #name.into(),
            doc: #doc.into(),
            params: ::proximity_proto::__private::vec![#(#params),*],
            returns: #returns,
            effect: ::proximity_proto::object::Effect::#effect,
            quick: #quick,
            index: #index,
        }
    }
}

/// A parameter's entry in the interface.
fn param_entry(param: &Param) -> TokenStream {
    let (name, ty) = (param.ident.unraw().to_string(), &param.ty);
    let from_arg = quote_spanned! { ty.span() =>
        <#ty as ::proximity_proto::arg::FromArg<'_>>::ty()
    };
    let (kind, ty, default) = match &param.kind {
        Kind::Plain(default) => (quote!(Plain), from_arg, default.as_ref()),
        Kind::Args => (quote!(Args), quote!(::proximity_proto::arg::Type::named("any")), None),
        Kind::Kwargs => (quote!(Kwargs), quote!(::proximity_proto::arg::Type::named("any")), None),
    };
    let default = match default {
        None => quote!(::core::option::Option::None),
        Some(value) => {
            let ty = &param.ty;
            quote_spanned! { value.span() => {
                let value: #ty = #value;
                let mut bytes = ::proximity_proto::__private::Vec::new();
                ::proximity_proto::reply::ToReply::to_reply(&value, &mut bytes);
                ::core::option::Option::Some(bytes)
            } }
        }
    };
    quote! {
        ::proximity_proto::object::Param {
            name: #name.into(),
            ty: #ty,
            default: #default,
            kind: ::proximity_proto::object::ParamKind::#kind,
        }
    }
}

/// Binds a call's arguments, then calls.
fn call_arm(index: usize, method: &Method) -> TokenStream {
    let plain = method.params.iter().filter(|p| matches!(p.kind, Kind::Plain(_))).count();
    // Names of our own: a parameter may be called `out`, `cx` or `bound`.
    let names: Vec<Ident> =
        (0..method.params.len()).map(|place| format_ident!("__{place}")).collect();
    let lets = method.params.iter().zip(&names).enumerate().map(|(place, (param, name))| {
        let ty = &param.ty;
        match &param.kind {
            Kind::Args => quote_spanned! { ty.span() => let #name: #ty = bound.rest(); },
            Kind::Kwargs => quote_spanned! { ty.span() => let #name: #ty = bound.named_rest(); },
            Kind::Plain(default) => {
                let default = if let Some(value) = default {
                    quote!(::core::option::Option::Some(#value))
                } else {
                    quote!(::core::option::Option::None)
                };
                quote_spanned! { ty.span() =>
                    let #name: #ty = bound.arg(#place, || #default)?;
                }
            }
        }
    });
    let call = invoke(method, names.iter().map(|name| quote!(#name)));
    quote! {
        #index => {
            let bound = ::proximity_proto::arg::Bound::<#plain>::new(
                &method.name,
                &method.params,
                args,
            )?;
            #(#lets)*
            #call
        }
    }
}

/// Calls a method with `args` and ends the call.
fn invoke(method: &Method, args: impl Iterator<Item = TokenStream>) -> TokenStream {
    let ident = &method.ident;
    let context = method.takes_context.then(|| quote!(cx,));
    let output = &method.output;
    quote_spanned! { output.span() =>
        ::proximity_proto::object::Output::finish(self.#ident(#context #(#args),*), out)
    }
}

/// An attribute: a method that reads it, and maybe one that sets it.
struct Attribute {
    name: String,
    getter: Method,
    setter: Option<Method>,
}

impl Attribute {
    /// Finds the setter of each getter.
    fn pair(methods: Vec<Method>) -> Result<Vec<Self>> {
        let (setters, getters): (Vec<_>, Vec<_>) =
            methods.into_iter().partition(|method| method.sets().is_some());
        let mut attributes = Vec::new();
        for getter in getters {
            if let Some(param) = getter.params.first() {
                let message = "an attribute is read without parameters; \
                               the one that sets it is called `set_` and its name";
                return Err(Error::new(param.ident.span(), message));
            }
            attributes.push(Self { name: getter.name(), getter, setter: None });
        }
        for setter in setters {
            let name = setter.sets().unwrap_or_default();
            let Some(attribute) = attributes.iter_mut().find(|a| a.name == name) else {
                let message = format!("there is no attribute `{name}` for this to set");
                return Err(Error::new(setter.ident.span(), message));
            };
            attribute.setter = Some(setter);
        }
        Ok(attributes)
    }

    fn entry(&self, index: usize) -> TokenStream {
        let (name, doc) = (&self.name, &self.getter.doc);
        let (settable, quick) = (self.setter.is_some(), self.getter.quick);
        let output = &self.getter.output;
        let ty = quote_spanned! { output.span() =>
            <#output as ::proximity_proto::object::Output>::ty()
        };
        quote! {
            ::proximity_proto::object::Attribute {
                name: #name.into(),
                doc: #doc.into(),
                ty: #ty,
                settable: #settable,
                quick: #quick,
                index: #index,
            }
        }
    }

    fn get_arm(&self, index: usize) -> TokenStream {
        let call = invoke(&self.getter, core::iter::empty());
        quote! { #index => { #call } }
    }

    fn set_arm(&self, index: usize) -> Option<TokenStream> {
        let setter = self.setter.as_ref()?;
        let param = setter.params.first()?;
        let (ty, name) = (&param.ty, &self.name);
        let call = invoke(setter, core::iter::once(quote!(value)));
        Some(quote_spanned! { ty.span() =>
            #index => {
                let value: #ty = ::proximity_proto::arg::FromArg::from_arg(value)
                    .map_err(|mismatch| mismatch.fault(format_args!("attribute '{}'", #name)).before())?;
                #call
            }
        })
    }
}
