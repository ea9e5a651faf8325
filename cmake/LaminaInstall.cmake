# Installed tree: library, headers, documents, CMake package and pkg-config file.
#
# SPDX-License-Identifier: Apache-2.0
include(CMakePackageConfigHelpers)
include(LaminaMpiNames)
set(lamina_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/lamina)
lamina_mpi_names(lamina_mpi_names ${MPI_C_LIBRARIES})

install(TARGETS lamina EXPORT laminaTargets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/lamina DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h")
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR} FILES_MATCHING PATTERN "*.md")
install(DIRECTORY examples DESTINATION ${CMAKE_INSTALL_DOCDIR}
        PATTERN CMakeLists.txt EXCLUDE PATTERN __pycache__ EXCLUDE)
install(FILES README.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

install(EXPORT laminaTargets NAMESPACE lamina:: DESTINATION ${lamina_package_dir})
configure_package_config_file(cmake/laminaConfig.cmake.in ${PROJECT_BINARY_DIR}/laminaConfig.cmake
                              INSTALL_DESTINATION ${lamina_package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/laminaConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/laminaConfig.cmake
              ${PROJECT_BINARY_DIR}/laminaConfigVersion.cmake cmake/FindParallelHDF5.cmake
              cmake/FindOneDNN.cmake cmake/LaminaMpiNames.cmake
        DESTINATION ${lamina_package_dir})

# pkg-config, relative to the file itself so that the tree may be moved. Whoever links a static
# library links what it uses, too.
list(JOIN MPI_C_LIBRARIES " " lamina_pc_libs)
list(JOIN ParallelHDF5_LIBRARIES " " lamina_pc_libs_private)
string(APPEND lamina_pc_libs_private " -pthread -lm ${OpenMP_C_FLAGS}")
if(LAMINA_HAVE_ONEDNN)
    string(APPEND lamina_pc_libs_private " -ldnnl")
endif()
if(BUILD_SHARED_LIBS)
    set(lamina_pc_private .private)
else()
    string(APPEND lamina_pc_libs " ${lamina_pc_libs_private}")
endif()
list(TRANSFORM MPI_C_INCLUDE_DIRS PREPEND "-I" OUTPUT_VARIABLE lamina_pc_cflags)
list(JOIN lamina_pc_cflags " " lamina_pc_cflags)
file(RELATIVE_PATH lamina_pc_to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(cmake/lamina.pc.in ${PROJECT_BINARY_DIR}/lamina.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/lamina.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
