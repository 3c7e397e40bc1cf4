//! The words the demo's rows are made of.

/// People who buy and ask.
pub(super) const CUSTOMERS: &[&str] = &[
    "Ada Lindqvist",
    "Amara Okafor",
    "Anders Sørensen",
    "Anna Kowalska",
    "Ayşe Yılmaz",
    "Beatriz Araújo",
    "Ben Carter",
    "Chloé Dubois",
    "Daniel Novák",
    "Dimitra Παπαδοπούλου",
    "Elif Şahin",
    "Emma Johansson",
    "Fatima Zahra",
    "Felix Bauer",
    "Giulia Ferrari",
    "Grace Mwangi",
    "Hannah Schmidt",
    "Hiroshi 田中",
    "Ines Castro",
    "Ivana Horvat",
    "Jakub Dvořák",
    "Jonas Weber",
    "Karim Haddad",
    "Katarzyna Wójcik",
    "Lars Nilsen",
    "Léa Moreau",
    "Liam O’Connor",
    "Lucía Fernández",
    "Mai Nguyễn",
    "Marco Rossi",
    "Maria Silva",
    "Mateus Oliveira",
    "Mei Wáng",
    "Mia Fischer",
    "Nadia Petrova",
    "Noah Andersen",
    "Olga Иванова",
    "Oskar Lehtinen",
    "Pablo Gómez",
    "Priya Sharma",
    "Quinn Murphy",
    "Rahul Verma",
    "Sara Nyström",
    "Sofia Almeida",
    "Tariq Aziz",
    "Thandi Dlamini",
    "Tomás Herrera",
    "Yuki Satō",
    "Zeynep Demir",
    "Zoë van Dijk",
];

/// Countries of customers, by code.
pub(super) const COUNTRIES: &[&str] = &[
    "DE", "FR", "ES", "IT", "PL", "SE", "NO", "PT", "GB", "NL", "TR", "GR", "JP", "IN", "BR", "KE",
];

/// What the shop sells, with the price in cents.
pub(super) const ITEMS: &[(&str, i64)] = &[
    ("Espresso machine", 34_900),
    ("Coffee grinder", 12_950),
    ("Pour-over kettle", 5_990),
    ("Cast-iron pan", 4_450),
    ("Chef’s knife", 8_900),
    ("Oak cutting board", 3_995),
    ("Linen apron", 2_990),
    ("Ceramic mug", 1_450),
    ("Glass teapot", 3_250),
    ("Salad bowl", 2_790),
    ("Bread tin", 1_890),
    ("Stand mixer", 42_900),
    ("Hand blender", 6_490),
    ("Kitchen scale", 2_495),
    ("Spice rack", 3_790),
    ("Picnic basket", 5_450),
];

/// Those who answer tickets.
pub(super) const AGENTS: &[&str] = &[
    "Alma",
    "Bruno",
    "Chidi",
    "Dalia",
    "Eero",
    "Françoise",
    "Goran",
];

/// What tickets are about.
pub(super) const SUBJECTS: &[&str] = &[
    "Parcel has not arrived",
    "Wrong colour delivered",
    "Refund still missing",
    "Cannot log in",
    "Change of delivery address",
    "Lid is cracked",
    "Invoice without VAT number",
    "Voucher is refused",
    "Spare part for the grinder",
    "Machine leaks at the base",
    "Order placed twice",
    "Return label does not print",
    "Gift wrapping forgotten",
    "Card was charged twice",
    "When is it back in stock?",
    "Confirmation e-mail never came",
];

/// What a buyer may add to an order.
pub(super) const NOTES: &[&str] = &[
    "Please leave it with the neighbour",
    "Ring twice",
    "Gift: no invoice in the parcel",
    "Deliver after 17:00",
    "Für Großmutter 🎁",
];
