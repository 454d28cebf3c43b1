//! Writes `impl ToReply` for a struct.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Data, DeriveInput, Error, Fields, Result, ext::IdentExt, spanned::Spanned};

/// A dictionary with the fields' names as keys, in the order in which they are declared.
pub(crate) fn derive(item: TokenStream) -> Result<TokenStream> {
    let input: DeriveInput = syn::parse2(item)?;
    let fields = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => &fields.named,
            _ => return Err(Error::new(input.ident.span(), "ToReply needs fields with names")),
        },
        _ => return Err(Error::new(input.ident.span(), "ToReply is derived for structs")),
    };
    let count = fields.len();
    let idents: Vec<_> = fields.iter().filter_map(|field| field.ident.as_ref()).collect();
    let writes = fields.iter().zip(&idents).map(|(field, ident)| {
        let name = ident.unraw().to_string();
        quote_spanned! { field.ty.span() =>
            ::proximity_proto::reply::text(out, #name);
            ::proximity_proto::reply::ToReply::to_reply(&self.#ident, out);
        }
    });
    let (ident, generics) = (&input.ident, &input.generics);
    let (impl_generics, ty_generics, where_clause) = generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics ::proximity_proto::reply::ToReply for #ident #ty_generics #where_clause {
            fn to_reply(&self, out: &mut ::proximity_proto::__private::Vec<u8>) {
                ::proximity_proto::reply::map_head(out, #count);
                #(#writes)*
            }

            fn ty() -> ::proximity_proto::arg::Type {
                ::proximity_proto::arg::Type::named("dict")
            }
        }
    })
}
