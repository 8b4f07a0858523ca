"""People's given names and surnames, and the closed lists from which their facts are drawn.

Each entry is `nepali roman`; the names are common Nepali ones, spelled as their bearers usually do.
"""

MALE = """
राम Ram|हरि Hari|श्याम Shyam|गोपाल Gopal|कृष्ण Krishna|मोहन Mohan
सुरेश Suresh|रमेश Ramesh|दिनेश Dinesh|महेश Mahesh
गणेश Ganesh|विष्णु Bishnu|शिव Shiva|अर्जुन Arjun|भीम Bhim|प्रकाश Prakash
विकास Bikash|दीपक Deepak|राजेश Rajesh|नरेश Naresh
उमेश Umesh|केशव Keshav|नवीन Nabin|प्रवीण Prabin|सन्तोष Santosh|विनोद Binod
अशोक Ashok|अनिल Anil|सुनिल Sunil|राजु Raju
विजय Bijay|अजय Ajay|सञ्जय Sanjay|मनोज Manoj|सरोज Saroj|पङ्कज Pankaj
सुमन Suman|पवन Pawan|मदन Madan|चन्दन Chandan
अमृत Amrit|रोहित Rohit|मोहित Mohit|अमित Amit|सुजन Sujan|रोशन Roshan
किरण Kiran|मिलन Milan|नारायण Narayan|लक्ष्मण Laxman
भरत Bharat|जीवन Jiwan|युवराज Yubaraj|धनराज Dhanraj|टेक Tek|खगेन्द्र Khagendra
राजेन्द्र Rajendra|सुरेन्द्र Surendra|नरेन्द्र Narendra|महेन्द्र Mahendra
देवेन्द्र Devendra|वीरेन्द्र Birendra|पूर्ण Purna|तिलक Tilak|हेमन्त Hemanta|सागर Sagar
आशिष Ashish|बसन्त Basanta|निर्मल Nirmal|विमल Bimal
पासाङ Pasang|तेन्जिङ Tenzing|दोर्जे Dorje|मिङ्मा Mingma|काजी Kaji|बुद्ध Buddha
सोनाम Sonam|रणजित Ranjit|इन्द्र Indra|जगत Jagat
"""

FEMALE = """
सीता Sita|गीता Gita|रीता Rita|मीना Mina|लक्ष्मी Laxmi|सरस्वती Saraswati
पार्वती Parbati|राधा Radha|मायाँ Maya|सरिता Sarita
कुसुम Kusum|सविता Sabita|अनिता Anita|सुनिता Sunita|विनिता Binita|रमिला Ramila
शर्मिला Sharmila|उर्मिला Urmila|निर्मला Nirmala|विमला Bimala
कमला Kamala|शान्ता Shanta|शारदा Sharada|सुशीला Sushila|दुर्गा Durga|कौशल्या Kaushalya
गङ्गा Ganga|यमुना Yamuna|तुलसी Tulasi|चन्द्रा Chandra
देवी Devi|रुपा Rupa|दीपा Deepa|शोभा Shobha|प्रभा Prabha|आशा Aasha
उषा Usha|निशा Nisha|मनीषा Manisha|करिश्मा Karishma
रेखा Rekha|सुष्मा Sushma|पूजा Puja|प्रतिमा Pratima|रश्मि Rashmi|ज्योति Jyoti
स्मृति Smriti|प्रकृति Prakriti|सृष्टि Srishti|दृष्टि Drishti
बिन्दु Bindu|इन्दु Indu|मधु Madhu|रजनी Rajani|रोजिना Rojina|सबिना Sabina
एलिना Elina|अलिशा Alisha|सोनिया Soniya|मोनिका Monika
सञ्जना Sanjana|कल्पना Kalpana|भावना Bhawana|वन्दना Bandana|रचना Rachana|अर्चना Archana
सपना Sapana|जुना Juna|विपना Bipana|प्रार्थना Prarthana
डोल्मा Dolma|ल्हामु Lhamu|पेमा Pema|फूलमाया Phulmaya|धनमाया Dhanmaya|हीरा Hira
मञ्जु Manju|अञ्जु Anju|सञ्जु Sanju|गोमा Goma
"""

SURNAMES = """
गुरुङ Gurung|तामाङ Tamang|श्रेष्ठ Shrestha|थापा Thapa|राई Rai|लिम्बू Limbu
मगर Magar|शर्मा Sharma|अधिकारी Adhikari|कार्की Karki
बस्नेत Basnet|शेर्पा Sherpa|चौधरी Chaudhary|यादव Yadav|महर्जन Maharjan|खड्का Khadka
भण्डारी Bhandari|पौडेल Poudel|न्यौपाने Neupane|झा Jha
"""

PLACES = """
काठमाडौँ Kathmandu|पोखरा Pokhara|धरान Dharan|विराटनगर Biratnagar|जनकपुर Janakpur|बुटवल Butwal
नेपालगन्ज Nepalgunj|धनगढी Dhangadhi
जुम्ला Jumla|इलाम Ilam|गोरखा Gorkha|भक्तपुर Bhaktapur|ललितपुर Lalitpur|मुस्ताङ Mustang
पाल्पा Palpa|हेटौँडा Hetauda
"""

PROFESSIONS = """
डाक्टर doctor|किसान farmer|शिक्षक teacher|वकिल lawyer|व्यापारी trader|इन्जिनियर engineer
पत्रकार journalist
चालक driver|दर्जी tailor|कलाकार artist|सिकर्मी carpenter|माली gardener|भान्से cook
लेखक writer
"""

ANIMALS = """
कुकुर dog|बिरालो cat|गाई cow|बाख्रो goat|भैँसी buffalo|घोडा horse
भेडा sheep|खरायो rabbit
सुगा parrot|परेवा pigeon|हाँस duck|कुखुरा chicken|सुँगुर pig|गधा donkey
"""


def table(text: str) -> tuple[tuple[str, str], ...]:
    """Split a table of `nepali roman` entries into (nepali, english) pairs, in the order written."""
    entries = [entry for line in text.split("\n") for entry in line.split("|") if entry]
    return tuple((entry.split(" ", 1)[0], entry.split(" ", 1)[1]) for entry in entries)
